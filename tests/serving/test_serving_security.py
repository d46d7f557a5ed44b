"""Keys, TLS, limits and figures, over real sockets."""

from __future__ import annotations

import datetime
import hashlib
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving_helpers import pem_config, predict, refusal, running

from privzoo.errors import ConfigError, WeightsError
from privzoo.serving.keys import Keys, new_key, read_keys
from privzoo.serving.wire.refusal import Refusal

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
grpc = pytest.importorskip("grpc")
trustme = pytest.importorskip("trustme")
ROOT = str(Path(__file__).resolve().parents[2])
# What Keras, pickle, joblib and PyTorch read.
TRAPS = ("model.keras", "keras_metadata.pb", "model.pkl", "model.pickle", "model.joblib", "model.h5", "model.pt")


@pytest.fixture
def keyed(tmp_path):
    """A key file with three keys, and the keys."""
    keys = {}
    lines = ["# who may ask"]
    day = datetime.date(2020, 1, 31)
    for name, role, until in (("phone", "predict", None), ("chief", "admin", None), ("former", "predict", day)):
        keys[name], line = new_key(name, role, until)
        lines.append(line)
    (tmp_path / "keys").write_text("\n".join(lines))
    return tmp_path / "keys", keys


def test_keys_over_rest_and_grpc(models, keyed, caplog):
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

    file, keys = keyed
    reloaded = []
    with running(models, reloaded.append, keys=Keys(file)) as server, httpx.Client(base_url=server.url) as http:
        missing = predict(http, "half", {"instances": [1]})
        assert "needs an API key" in refusal(missing, 401) and missing.headers["www-authenticate"] == "Bearer"
        for wrong in ("pz_wrong", keys["former"], keys["phone"] + "x", "é"):
            sent = {"authorization": f"Bearer {wrong}".encode()}
            assert "unknown or no longer valid" in refusal(http.get("/v1/models/half", headers=sent), 401)
        for right in ({"authorization": f"Bearer {keys['phone']}"}, {"x-api-key": keys["chief"]}):
            assert http.get("/v1/models/half", headers=right).status_code == 200
        with grpc.insecure_channel(server.target) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = "half"
            for metadata in ((), (("authorization", "Bearer no"),)):
                with pytest.raises(grpc.RpcError) as refused:
                    stub.GetModelStatus(request, metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            phone, chief = ((("authorization", f"Bearer {keys[n]}"),) for n in ("phone", "chief"))
            assert stub.GetModelStatus(request, metadata=phone)
            change = model_management_pb2.ReloadConfigRequest()
            change.config.model_config_list.SetInParent()
            with pytest.raises(grpc.RpcError, match="may not change") as refused:
                stub.HandleReloadConfigRequest(change, metadata=phone)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            stub.HandleReloadConfigRequest(change, metadata=chief)
            assert len(reloaded) == 1
    assert "was refused" in caplog.text
    for secret in ("pz_", *keys.values()):
        assert secret not in caplog.text
    assert "pz_" not in file.read_text()


def test_keys_are_changed_while_the_server_runs(keyed, monkeypatch):
    file, keys = keyed
    checked = Keys(file)
    assert checked.check(keys["phone"]) == "phone" and checked.check(f"bearer {keys['chief']}", "admin") == "chief"
    fresh, line = new_key("phone-2027")
    file.write_text(line)
    checked._looked -= 2
    assert checked.check(fresh) == "phone-2027"
    with pytest.raises(Refusal):
        checked.check(keys["phone"])
    file.write_text("half a line")
    checked._looked -= 2
    assert checked.check(fresh) == "phone-2027"
    file.unlink()
    checked._looked -= 2
    assert checked.check(fresh) == "phone-2027"


def test_every_key_is_compared_in_constant_time(keyed, monkeypatch):
    import hmac

    file, keys = keyed
    compared, compare = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    Keys(file).check(keys["phone"])
    assert len(compared) == 3


@pytest.mark.parametrize(
    "line", ["phone", "phone boss " + "0" * 64, "phone predict 0", "a b c d e", "p predict " + "0" * 64 + " soon"]
)
def test_key_files_that_cannot_be(tmp_path, line):
    (tmp_path / "keys").write_text(f"# comment\n{line}\n")
    with pytest.raises(ConfigError, match="Line 2 of the key file"):
        read_keys(tmp_path / "keys")


def test_key_files_without_keys(tmp_path):
    (tmp_path / "keys").write_text("# none\n")
    with pytest.raises(ConfigError, match="has no key in it"):
        Keys(tmp_path / "keys")
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys(tmp_path / "none")
    for name, role in (("a b", "predict"), ("a", "boss")):
        with pytest.raises(ConfigError):
            new_key(name, role)


def test_the_command_prints_a_line_and_shows_the_key_once():
    command = [sys.executable, "-m", "privzoo.serving.keys", "phone", "--role", "admin", "--until", "2099-01-31"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    name, role, digest, until = done.stdout.split()
    key = done.stderr.split()[-1]
    assert (name, role, until) == ("phone", "admin", "2099-01-31")
    assert digest == hashlib.sha256(key.encode()).hexdigest()


def test_tls_and_mutual_tls_over_rest_and_grpc(models, tmp_path):
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    from privzoo.serving.front.tls import read_tls

    authority, other = trustme.CA(), trustme.CA()
    certificate, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("phone@example.org")
    stranger = other.issue_cert("phone@example.org")
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"

    def over_rest(server, shown=None):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if shown is not None:
            shown.configure_cert(context)
        with httpx.Client(verify=context, base_url=server.url) as http:
            return http.get("/v1/models/half").status_code

    def over_grpc(server, shown=None):
        key = shown and shown.private_key_pem.bytes()
        chain = shown and shown.cert_chain_pems[0].bytes()
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, chain)
        with grpc.secure_channel(server.target, credentials) as channel:
            return model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=20)

    with running(models, tls=read_tls(pem_config(tmp_path / "tls", certificate))) as server:
        assert over_rest(server) == 200 and over_grpc(server)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{server.url}/v1/models/half")
    with running(models, tls=read_tls(pem_config(tmp_path / "mutual", certificate, authority))) as server:
        assert over_rest(server, client) == 200 and over_grpc(server, client)
        for shown in (None, stranger):
            with pytest.raises(httpx.TransportError):
                over_rest(server, shown)
            with pytest.raises(grpc.RpcError):
                over_grpc(server, shown)


def test_tls_files_that_cannot_be(tmp_path):
    from privzoo.serving.front.tls import read_tls

    authority = trustme.CA()
    certificate, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    expired = authority.issue_cert("a.example", not_after=datetime.datetime(2020, 1, 31, tzinfo=datetime.timezone.utc))
    file = tmp_path / "tls"
    for text, words in (
        ("", "lacks server_key"),
        ('server_key: "a" server_cert: "b"', "is not a PEM certificate"),
        ("server_key: 1", "not a SSLConfig in text protobuf .line 1"),
        ('server_key: "a" server_cert: "b" client_verify: true', "no custom_ca"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_tls(file)
    with pytest.raises(ConfigError, match="expired on 2020-01-31"):
        read_tls(pem_config(file, expired))
    text = pem_config(file, certificate).read_text().splitlines()[0]
    file.write_text(text + "\n" + pem_config(file, other).read_text().splitlines()[1])
    with pytest.raises(ConfigError, match="do not match") as wrong:
        read_tls(file)
    assert "PRIVATE" not in str(wrong.value)
    assert "PRIVATE" not in repr(read_tls(pem_config(file, certificate)))


def head_of(server, data, seconds=20):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(seconds)
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        return answer


def test_heads_that_take_too_long_or_too_much(models):
    with running(models, header_seconds=0.3) as server:
        for data in (b"", b"GET /v1/models/half HTTP/1.1\r\nhost: a\r\n"):
            start = time.monotonic()
            answer = head_of(server, data)
            assert answer.startswith(b"HTTP/1.1 408 ") and b'{"error":"The header of the request did not' in answer
            assert time.monotonic() - start < 10
        with httpx.Client(base_url=server.url) as http:
            assert predict(http, "slow", {"instances": [30_000]}).status_code == 200
            time.sleep(0.5)  # an idle connection that is kept open is none that is late
            assert http.get("/v1/models/half").status_code == 200
    with running(models) as server:
        answer = head_of(server, b"GET / HTTP/1.1\r\n" + b"x-long: 123456789\r\n" * 5000)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert head_of(server, b"FROB / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_connections_over_the_limit_are_refused(models):
    with running(models, max_connections=3) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        time.sleep(0.3)
        assert head_of(server, b"").startswith(b"HTTP/1.1 503 ")
        for connection in idle:
            connection.close()
        time.sleep(0.3)
        assert httpx.get(f"{server.url}/v1/models/half").status_code == 200


def test_requests_over_the_limit_are_told_to_come_back(models):
    with running(models, max_concurrent_requests=1) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(predict, http, "slow", {"instances": [200_000]})
            while not server.service.running:
                time.sleep(0.01)
            busy = predict(http, "half", {"instances": [1]})
            assert "try again a little later" in refusal(busy, 429) and busy.headers["retry-after"] == "1"
            assert slow.result().status_code == 200
        assert predict(http, "half", {"instances": [1]}).status_code == 200


def test_a_refused_body_is_read_so_that_the_answer_arrives(models, keyed):
    file, _ = keyed
    with running(models, keys=Keys(file)) as server, httpx.Client(base_url=server.url) as http:
        assert "needs an API key" in refusal(predict(http, "half", b"1" * 150_000), 401)
        assert "needs an API key" in refusal(predict(http, "half", b"1" * 150_000), 401)


def test_figures_for_prometheus(models):
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from privzoo.serving.front.metrics import Metrics

    figures = Metrics("/monitoring/prometheus/metrics")
    with running(models, metrics=figures) as server, httpx.Client(base_url=server.url) as http:
        for _ in range(3):
            predict(http, "half", {"instances": [1]})
        predict(http, "half", {"instances": ["a"]})
        predict(http, "no-such-model", {"instances": [1]})
        with grpc.insecure_channel(server.target) as channel:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "half"
            with pytest.raises(grpc.RpcError):
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
        answer = http.get("/monitoring/prometheus/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"} 3.0' in lines
    assert ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"} 2.0' in lines
    assert ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"} 1.0' in lines
    assert ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="REST",model_name="half"} 3.0' in lines
    assert any(line.startswith(":tensorflow:serving:runtime_latency_bucket") for line in lines)
    assert "no-such-model" not in answer.text


def test_a_call_without_a_key_counts_as_that(models, keyed):
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from privzoo.serving.front.metrics import Metrics

    figures, request = Metrics("/figures"), predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    with running(models, metrics=figures, keys=Keys(keyed[0])) as server:
        with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError):
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
        # Of no model: its message, which would name one, is not read for a stranger.
        assert b':request_count{model_name="",status="UNAUTHENTICATED"} 1.0' in figures.text()


def test_without_a_monitoring_config_there_are_no_figures(http):
    assert refusal(http.get("/monitoring/prometheus/metrics"), 404)


def test_no_pickle_and_no_keras_is_ever_loaded(folder, tmp_path):
    """Traps in every format that can carry code lie where a loader would look for them; none is sprung."""
    sprung, base = tmp_path / "sprung", tmp_path / "half"
    trap = b"coperator\nmethodcaller\n(S'touch'\ntR(cpathlib\nPath\n(S'" + str(sprung).encode() + b"'\ntRtR."
    pickle.loads(trap)
    assert sprung.exists()  # it would be, if anybody opened it
    sprung.unlink()
    shutil.copytree(folder / "half" / "2", base / "2")
    for place in (base, base / "2", base / "2" / "assets", base / "2" / "assets.extra", base / "2" / "variables"):
        place.mkdir(exist_ok=True)
        for name in TRAPS:
            (place / name).write_bytes(trap)
    code = """
import sys
import numpy as np
import tensorflow  # which imports Keras, whatever is served
from privzoo.serving import load_versions
seen, before = [], set(sys.modules)
def hook(event, arguments):
    if event == "pickle.find_class" or (event == "open" and str(arguments[0]).startswith(sys.argv[1])):
        seen.append((event, str(arguments[0])))
sys.addaudithook(hook)
(half,) = load_versions("half", sys.argv[1])
print(half.model.run(half.signature("serving_default"), {"x": np.ones(1, np.float32)})["y"])
print(seen, [name for name in set(sys.modules) - before if "keras" in name or "pickle" in name])
"""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ROOT}
    # Python itself opens no file of the folder: what TensorFlow's C++ reads there cannot run Python's code.
    done = subprocess.run([sys.executable, "-c", code, base], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[2.5]", "[] []"]
    assert not sprung.exists()
    (base / "2" / "saved_model.pb").unlink()  # nor in the place of a SavedModel
    from privzoo.serving import load_versions

    with pytest.raises(ConfigError, match="no saved_model.pb"):
        load_versions("x", base)
    for ending in ("pb", "pbtxt"):
        (base / "2" / f"saved_model.{ending}").write_bytes(trap)
        with pytest.raises(WeightsError, match="cannot be loaded as a SavedModel"):
            load_versions("x", base)
    assert not sprung.exists()


def test_numbers_of_features_do_not_reach_logs_even_at_debug(http, caplog):
    import logging

    with caplog.at_level(logging.DEBUG):
        predict(http, "tail", {"instances": np.full((1, 2, 2, 3), 0.123456789).tolist()})
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert "0.1234" not in "".join(ours)
