"""The life of models: configs, versions that come and go, damage, warm-up; while requests run."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest
from serving_helpers import refusal, running

from privzoo.errors import ConfigError, PrivzooError, WeightsError
from privzoo.serving.models.config import ServedModel, read_config

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")


@pytest.fixture
def base(folder, tmp_path):
    """A base path with version 1 of the model `half`."""
    shutil.copytree(folder / "half" / "1", tmp_path / "half" / "1")
    return tmp_path / "half"


def bring(folder, base, version, source="2"):
    """Puts a version there at once, as export does."""
    shutil.copytree(folder / "half" / source, base / f".{version}.part")
    os.rename(base / f".{version}.part", base / str(version))


@pytest.fixture
def manager(folder):
    from privzoo.serving import Models
    from privzoo.serving.models.manager import Manager

    manager = Manager(Models(), drain_seconds=5)
    yield manager
    manager.close()
    manager.models.close()


def states(models, name="half"):
    return {int(s["version"]): s["state"] for s in models.status(name)["model_version_status"]}


def test_a_new_version_replaces_the_old_one(manager, folder, base):
    manager.apply([ServedModel("half", base)])
    assert states(manager.models) == {1: "AVAILABLE"}
    bring(folder, base, 3)
    manager.poll()
    assert states(manager.models) == {1: "END", 3: "AVAILABLE"}
    shutil.rmtree(base / "3")
    manager.poll()
    assert states(manager.models) == {1: "AVAILABLE", 3: "END"}
    shutil.rmtree(base / "1")
    manager.poll()  # nothing is left to serve: what serves stays
    assert states(manager.models)[1] == "AVAILABLE"
    shutil.rmtree(base)
    manager.poll()
    assert states(manager.models)[1] == "AVAILABLE"


def test_policies(manager, folder, base):
    for version in (2, 3, 4):
        bring(folder, base, version)
    for policy, versions in (
        ({}, {4}),
        ({"latest": 2}, {3, 4}),
        ({"latest": 0}, {1, 2, 3, 4}),
        ({"specific": (1, 3)}, {1, 3}),
    ):
        manager.apply([ServedModel("half", base, **policy)])
        assert {s.version for s in manager.models.available("half")} == versions
    bring(folder, base, 9)
    manager.poll()
    assert {s.version for s in manager.models.available("half")} == {1, 3}


def test_a_damaged_version_leaves_the_older_one(manager, folder, base, caplog):
    manager.apply([ServedModel("half", base)])
    (base / "2").mkdir()
    manager.poll()  # no saved_model.pb yet: somebody still writes
    assert states(manager.models) == {1: "AVAILABLE"}
    (base / "2" / "saved_model.pb").write_bytes(b"\x08\x01not a model")
    for _ in range(3):
        manager.poll()
    assert caplog.text.count("cannot be loaded as a SavedModel") == 1
    assert states(manager.models) == {1: "AVAILABLE", 2: "END"}
    (status,) = manager.models.status("half", 2)["model_version_status"]
    assert status["status"]["error_code"] == "DATA_LOSS" and "cannot be loaded" in status["status"]["error_message"]
    assert manager.models.find("half").version == 1
    shutil.rmtree(base / "2")
    bring(folder, base, 2)  # repaired
    manager.poll()
    assert states(manager.models) == {1: "END", 2: "AVAILABLE"}


def test_variables_that_are_cut_short_are_damage_too(manager, folder, base):
    manager.apply([ServedModel("half", base)])
    bring(folder, base, 2)
    (data,) = (base / "2" / "variables").glob("variables.data*")
    data.write_bytes(b"")
    manager.poll()
    assert manager.models.find("half").version == 1


def test_a_config_that_cannot_be_leaves_the_models_before(manager, folder, base, tmp_path):
    manager.apply([ServedModel("half", base)])
    for wrong in (
        [ServedModel("half", base), ServedModel("x", tmp_path / "none")],
        [ServedModel("half", base, specific=(1, 7))],
        [ServedModel("half", base, labels={"stable": 7})],
    ):
        with pytest.raises(ConfigError):
            manager.apply(wrong)
        assert states(manager.models) == {1: "AVAILABLE"} and manager.models.names() == ["half"]
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(WeightsError):
        manager.apply([ServedModel("other", base), ServedModel("bad", tmp_path / "bad")])
    assert manager.models.known() == ["half"]
    manager.apply([ServedModel("other", base, labels={"stable": 1})])
    assert manager.models.known() == ["other"]
    assert manager.models.find("other", label="stable").version == 1


def test_labels_may_wait_for_their_version(folder, base):
    from privzoo.serving import Models
    from privzoo.serving.models.manager import Manager
    from privzoo.serving.wire.refusal import Refusal

    manager = Manager(Models(), free_labels=True)
    manager.apply([ServedModel("half", base, latest=2, labels={"canary": 2})])
    with pytest.raises(Refusal, match="Specific\\(half, 2\\)"):
        manager.models.find("half", label="canary")
    bring(folder, base, 2)
    manager.poll()
    assert manager.models.find("half", label="canary").version == 2
    manager.models.close()


def test_versions_are_swapped_while_requests_run_and_none_is_lost(manager, folder, base):
    manager.apply([ServedModel("half", base)])
    stop, wrong, answers = threading.Event(), [], []
    with running(manager.models) as server, httpx.Client(base_url=server.url, timeout=60) as client:

        def ask():
            while not stop.is_set():
                response = client.post("/v1/models/half:predict", content=b'{"instances": [1]}')
                (answers if response.status_code == 200 else wrong).append(response.text)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in range(2, 6):
            bring(folder, base, version, source="12"[version % 2])
            manager.poll()
            shutil.rmtree(base / str(version - 1))
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert {'{"predictions":[1.5]}', '{"predictions":[2.5]}'} == set(answers)


def test_a_version_leaves_after_its_last_request(manager, folder, base):
    manager.apply([ServedModel("half", base)])
    manager._drain_seconds = 0.1
    old = manager.models.find("half")
    bring(folder, base, 2)
    with manager.models.lease("half") as leased:
        manager.poll()
        assert leased is old and states(manager.models) == {1: "UNLOADING", 2: "AVAILABLE"}
        assert manager.models.find("half").version == 2
        signature = old.signature("serving_default")
        assert old.model.run(signature, {"x": np.ones(1, np.float32)})["y"].tolist() == [1.5]
    manager.poll()
    assert states(manager.models) == {1: "END", 2: "AVAILABLE"}


def test_the_watch_finds_versions_and_configs(manager, folder, base, tmp_path):
    file = tmp_path / "models.config"
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    file.write_text(f"model_config_list {{ {entry.format('half', base)} }}")
    manager.apply(read_config(file))
    manager.watch(0.05, file, 0.05)
    bring(folder, base, 2)
    wait(lambda: manager.models.find("half").version == 2)
    file.write_text("model_config_list { nonsense")
    time.sleep(0.2)
    file.write_text(f"model_config_list {{ {entry.format('again', base)} }}")
    wait(lambda: manager.models.names() == ["again"])


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is not a ModelServerConfig in text protobuf .line 1"),
        ("", "has no model_config_list"),
        ("model_config_list {}", "has no model in it"),
        ("custom_model_config {}", "has no model_config_list"),
        ('model_config_list { config { name: "a/b" base_path: "x" } }', "name 'a/b' is invalid"),
        ('model_config_list { config { name: "a" } }', "no base_path"),
        ('model_config_list { config { name: "a" base_path: "x" model_platform: "pytorch" } }', "platform 'pytorch'"),
        ('model_config_list { config { name: "a" base_path: "x" } config { name: "a" base_path: "y" } }', "twice"),
        (
            'model_config_list { config { name: "a" base_path: "x" model_version_policy { specific {} } } }',
            "invalid version",
        ),
        ('model_config_list { config { name: "a" base_path: "gs://b/a" } }', "path gs://b/a is not supported"),
    ],
)
def test_configs_that_cannot_be(tmp_path, text, words):
    pytest.importorskip("tensorflow_serving")
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path / "models.config")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none")


def test_a_config_in_full(tmp_path):
    pytest.importorskip("tensorflow_serving")
    file = tmp_path / "models.config"
    file.write_text(
        """
        model_config_list {
          config {
            name: "a" base_path: "/srv/a" model_platform: "tensorflow"
            model_version_policy { specific { versions: 3 versions: 1 } }
            version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 3 }
          }
          config { name: "b" base_path: "/srv/b" model_version_policy { latest { num_versions: 2 } } }
          config { name: "c" base_path: "/srv/c" model_version_policy { all {} } }
          config { name: "d" base_path: "/srv/d" }
        }
        """
    )
    a, b, c, d = read_config(file)
    assert a.specific == (1, 3) and a.labels == {"stable": 1, "canary": 3}
    assert (b.latest, c.latest, d.latest) == (2, 0, 1)


def test_warm_up_requests_are_written_read_and_run(manager, folder, tmp_path, monkeypatch):
    from privzoo.export.warmup import write_warmup
    from privzoo.serving.models import warmup
    from privzoo.serving.models.saved_model import SavedModel

    base = tmp_path / "tail"
    shutil.copytree(folder / "tail", base)
    features = np.zeros((2, 2, 2, 3), np.float32)
    names = ["serving_default", "tail_0123456789ab"]
    file = write_warmup(base / "3", "tail", {"features": features}, names)
    assert file == base / "3" / "assets.extra" / "tf_serving_warmup_requests"
    logs = [log.predict_log.request for log in warmup.read_warmup(base / "3")]
    assert [log.model_spec.signature_name for log in logs] == names
    ran, run = [], SavedModel.run
    monkeypatch.setattr(SavedModel, "run", lambda self, s, i: ran.append(s.name) or run(self, s, i))
    manager.apply([ServedModel("tail", base)])
    assert ran == names
    assert not list(warmup.read_warmup(folder / "half" / "1"))


def test_warm_up_requests_that_cannot_be_run_keep_the_version_out(manager, folder, base):
    from privzoo.export.warmup import write_warmup

    manager.apply([ServedModel("half", base)])
    bring(folder, base, 2)
    file = write_warmup(base / "2", "half", {"x": np.zeros((1, 1), np.int64)})
    manager.poll()
    assert states(manager.models) == {1: "AVAILABLE", 2: "END"}
    assert "cannot be run" in manager.models.status("half", 2)["model_version_status"][0]["status"]["error_message"]
    for damaged in (file.read_bytes()[:-3], b"no record", b""):
        file.write_bytes(damaged)
        manager.poll()
    assert manager.models.find("half").version == 2  # an empty file is one without requests


def test_reload_over_grpc(manager, folder, base, tmp_path):
    import grpc
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    manager.apply([ServedModel("half", base)])
    with (
        running(manager.models, manager.reload, reload_without_key=True) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        with pytest.raises(grpc.RpcError, match="Only ModelConfigList") as refused:
            stub.HandleReloadConfigRequest(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        entry = request.config.model_config_list.config.add(name="other", base_path=str(folder / "half"))
        entry.model_version_policy.all.SetInParent()
        response = stub.HandleReloadConfigRequest(request, timeout=120)
        assert response.status.error_code == 0
        assert [s.version for s in manager.models.available("other")] == [1, 2, 10]
        assert refusal(httpx.get(f"{server.url}/v1/models/half"), 404)
        entry.base_path = str(tmp_path / "none")
        with pytest.raises(grpc.RpcError, match="does not exist") as refused:
            stub.HandleReloadConfigRequest(request)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        entry.base_path = "s3://bucket/half"
        with pytest.raises(grpc.RpcError, match="The path s3://bucket/half is not supported"):
            stub.HandleReloadConfigRequest(request)
        assert manager.models.names() == ["other"]


def test_nobody_reloads_without_a_key_wherever_they_stand(manager, base):
    """Behind a proxy or a sidecar every caller comes from this machine, and a SavedModel is a program."""
    import grpc
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    manager.apply([ServedModel("half", base)])
    reloaded = []
    with running(manager.models, reloaded.append) as server, grpc.insecure_channel(server.target) as channel:
        change = model_management_pb2.ReloadConfigRequest()
        change.config.model_config_list.SetInParent()
        with pytest.raises(grpc.RpcError, match="--api_key_file") as refused:
            model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(change)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED and not reloaded


def test_the_flag_that_opens_reload_says_so_and_stands_alone(tmp_path):
    import argparse

    from privzoo.serving import add_flags, serve

    parser = argparse.ArgumentParser()
    add_flags(parser)
    told = " ".join(parser.format_help().split())
    assert "anyone who reaches the gRPC port" in told and "a SavedModel is a program" in told
    assert parser.parse_args(["--model_base_path=x"]).allow_reload_without_key is False
    with pytest.raises(ConfigError, match="contradicts --api_key_file"):
        serve(tmp_path, api_key_file=tmp_path / "keys", allow_reload_without_key=True)


def test_the_last_states_are_kept_and_not_more(manager, folder, base):
    for version in range(20):
        manager.models.mark("x", version, "END")
    assert len(states(manager.models, "x")) == 8
    with pytest.raises(PrivzooError):
        manager.apply([ServedModel("x", base / "none")])


def test_requests_get_pythons_lock_soon_while_a_version_loads(manager, folder, base, monkeypatch):
    from privzoo.serving.models import manager as module

    usual, seen = sys.getswitchinterval(), []
    servable = module.Servable
    monkeypatch.setattr(module, "Servable", lambda *a: seen.append(sys.getswitchinterval()) or servable(*a))
    manager.apply([ServedModel("half", base)])
    assert seen[0] < usual / 5 and sys.getswitchinterval() == usual
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"damaged")
    manager.poll()
    assert len(seen) == 2 and sys.getswitchinterval() == usual
