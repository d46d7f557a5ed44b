"""The same application on Ray Serve: two replicas, one of them killed under load, and no request lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from serving_models import FEATURE, TAIL

from privzoo.edge.access import Access, Target
from privzoo.edge.rest import Rest
from privzoo.edge.retry import Patience
from privzoo.errors import ConfigError, ServerError
from privzoo.serving import Server
from privzoo.serving.engines.ray import Cluster, read_cluster

pytestmark = pytest.mark.server


def test_clusters(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("replicas: 2\nmax_replicas: 4\ncpus: 0.5\n")
    assert read_cluster(file) == Cluster(replicas=2, max_replicas=4, cpus=0.5)
    assert read_cluster(None) == Cluster()
    for text, words in (
        ("[1]", "may only set replicas"),
        ("replica: 1", "may only set replicas"),
        ("replicas: 0", "replicas: 0"),
        ("replicas: yes", "replicas: True"),
        ("replicas: '2'", "replicas: '2'"),
        ("a: [", "is not valid YAML"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_cluster(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_cluster(tmp_path / "none")


def replicas(server):
    psutil = pytest.importorskip("psutil")
    found = []
    for child in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ends while it is looked at
            found += [child.pid] if "ServeReplica" in "".join(child.cmdline()[:1]) else []
    return found


@pytest.mark.timeout(900)
def test_a_replica_is_killed_under_load_and_every_request_is_answered(folder, tmp_path):
    pytest.importorskip("ray.serve")
    (tmp_path / "cluster.yaml").write_text("replicas: 2\ncpus: 0.1\n")
    flags = ["--engine", "ray", "--engine_config_file", str(tmp_path / "cluster.yaml")]
    with Server(folder / "tail", "tail", flags, timeout=400) as server:
        pids = replicas(server)
        assert len(pids) == 2
        feature = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, *FEATURE)
        patience = Patience(timeout=60, attempts=20, deadline=300)
        wire = Rest(server.url, Target("tail", None, TAIL, "features", 2), patience, Access())
        expected = wire.predict(feature).outputs
        stop, answered, wrong = threading.Event(), [], []

        def ask():
            while not stop.is_set():
                try:
                    answered.append(np.allclose(wire.predict(feature).outputs, expected))
                except ServerError as error:
                    wrong.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        before = len(answered)
        os.kill(pids[0], signal.SIGKILL)
        deadline = time.monotonic() + 300
        while set(replicas(server)) <= {pids[1]} or len(answered) < before + 50:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(120)
        wire.close()
        assert not wrong and all(answered)


def test_what_has_no_place_on_ray(folder, tmp_path):
    flags = ["--engine", "ray", "--ssl_config_file", str(tmp_path / "x")]
    with pytest.raises(ServerError, match="--ssl_config_file is not supported on Ray"):
        Server(folder / "tail", "tail", flags).start()
