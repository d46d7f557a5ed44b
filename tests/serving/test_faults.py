"""kill -9 and full disks: nothing half-written is ever loaded, and what is wrong is said in one sentence."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving_helpers import pem_config, running

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
TESTS = Path(__file__).resolve().parents[1]


def child(*arguments) -> subprocess.Popen:
    """Starts `faults_child.py`."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS / "helpers"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(TESTS / "helpers" / "faults_child.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})


def killed_after(process: subprocess.Popen, seconds: float) -> None:
    """Kills a child some time after it says that it is ready."""
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def sentence(text: str) -> str:
    """What a server said, if it is one sentence."""
    assert text and "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("seconds", [0.0, 0.7, 1.5])
def test_kill_9_during_export_leaves_whole_versions_only(folder, tmp_path, seconds):
    from export_fakes import manifest_of, pair

    from privzoo.export import saved_model
    from privzoo.serving import load_versions
    from privzoo.serving.models.warmup import warm

    killed_after(child("export", tmp_path), seconds)
    for base in (path for path in tmp_path.iterdir() if any(p.name.isdigit() for p in path.iterdir())):
        for servable in load_versions(base.name, base, "all"):
            assert servable.tail is not None and warm(servable) == 2
            servable.model.close()
    head, tail, _ = pair()  # and what the killed one left is in nobody's way
    saved_model.export_tail(tail, tmp_path, "m", 10_000, manifest_of(head, tail))
    (servable,) = load_versions("m", tmp_path / "m")
    assert servable.version == 10_000
    servable.model.close()


def test_a_full_disk_during_export_is_said_and_leaves_nothing(folder, tmp_path):
    process = child("full", tmp_path)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0
    said = out.splitlines()
    assert len(said) >= 5 and all("cannot be written" in line and "|" not in line for line in said), out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "warm"]
    assert not list((tmp_path / "m").iterdir())


def start(base, *flags):
    from privzoo.serving import Server

    return Server(base, "half", ["--file_system_poll_wait_seconds", "0.05", *map(str, flags)], timeout=300)


def test_kill_9_during_reload_and_an_upload_that_never_ended(folder, tmp_path):
    """The new version is whole, or it is none: after a kill while it loads, and while somebody copies it."""
    from privzoo.errors import ServerError

    base, ask = tmp_path / "half", b'{"instances": [1]}'
    shutil.copytree(folder / "half" / "1", base / "1")
    with start(base) as server:
        (base / "2").mkdir()  # cp -r that was killed: first without saved_model.pb, then without its variables
        time.sleep(0.5)
        shutil.copy(folder / "half" / "2" / "saved_model.pb", base / "2")
        deadline = time.monotonic() + 120
        while not (status := httpx.get(f"{server.url}/v1/models/half/versions/2", timeout=60)).is_success:
            assert time.monotonic() < deadline
        while (one := status.json()["model_version_status"][0])["state"] != "END":
            assert time.monotonic() < deadline
            status = httpx.get(f"{server.url}/v1/models/half/versions/2", timeout=60)
        assert "cannot be loaded" in sentence(one["status"]["error_message"])
        answer = httpx.post(f"{server.url}/v1/models/half:predict", content=ask, timeout=60)
        assert answer.json() == {"predictions": [1.5]}  # the older version keeps serving
        shutil.copytree(folder / "half" / "2", base / "3")
        os.kill(server.pid, signal.SIGKILL)  # while it loads version 3, or is about to
    shutil.rmtree(base / "3")
    with pytest.raises(ServerError) as refused:  # started anew, it does not load the half either
        start(base).start()
    assert "cannot be loaded as a SavedModel" in sentence(str(refused.value))
    shutil.rmtree(base / "2")
    shutil.copytree(folder / "half" / "2", base / "2")
    with start(base) as server:
        answer = httpx.post(f"{server.url}/v1/models/half:predict", content=ask, timeout=60)
        assert answer.json() == {"predictions": [2.5]}


def test_a_client_that_is_killed_while_it_uploads_harms_nobody(server):
    body = b'{"instances": [1' + b", 1" * 30_000
    for sent in (b"POST", b"POST /v1/models/half:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + body):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent)
            # What the system does with the connection of a process that is killed with data unread.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for _ in range(20):
        answer = httpx.post(f"{server.url}/v1/models/half:predict", content=b'{"instances": [2]}', timeout=60)
        assert answer.json() == {"predictions": [11.0]}
    assert server.service.running == 0


def test_a_device_that_is_killed_while_it_sends_loses_nothing(tmp_path):
    from export_fakes import chips, exported, serving

    from privzoo.edge import Client, Head, Queue

    head, queue = exported("float32"), tmp_path / "queue.sqlite"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = child("send", head, f"http://127.0.0.1:{silent.getsockname()[1]}", queue)
        silent.settimeout(120)
        connection, _ = silent.accept()
        assert connection.recv(100)  # a part of the request has come
        killed_after(process, 0)
        connection.close()
    opened = Queue(queue)
    assert len(opened) == 3
    opened.close()
    with serving() as (url, _), Client(Head(head), url, timeout=60, queue=queue) as client:
        assert len(client.later(chips()[:3], face="given")) == 3
        assert len(list(client.send())) == 3 and len(client.queue) == 0


def test_a_certificate_that_has_expired_is_said_by_server_and_client(models, folder, tmp_path):
    trustme = pytest.importorskip("trustme")
    from export_fakes import exported

    from privzoo.edge import Client, Head
    from privzoo.errors import ServerError, ServerUnavailableError
    from privzoo.serving import Server
    from privzoo.serving.front.tls import Tls

    authority, day = trustme.CA(), datetime.datetime(2020, 1, 31, tzinfo=datetime.timezone.utc)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    expired = authority.issue_cert("127.0.0.1", not_after=day)
    with pytest.raises(ServerError) as refused:
        Server(folder / "half", "half", ["--ssl_config_file", str(pem_config(tmp_path / "tls", expired))]).start()
    assert "expired on 2020-01-31; renew it" in sentence(str(refused.value))
    # One that expires while the server runs: the server cannot know who minds, and the client does.
    tls = Tls(expired.private_key_pem.bytes(), expired.cert_chain_pems[0].bytes(), b"", False)
    head = Head(exported("float32"))
    with running(models, tls=tls) as server:
        with Client(head, server.url, timeout=20, attempts=1, ca=tmp_path / "ca.pem") as client:
            with pytest.raises(ServerUnavailableError) as refused:
                client.predict([exported_chip()], face="given")
    assert "expired" in sentence(str(refused.value))


def exported_chip():
    from export_fakes import chips

    return chips()[0]
