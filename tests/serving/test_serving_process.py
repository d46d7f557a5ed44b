"""The server as a process: how it starts, how it ends, and that it always does."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from privzoo.errors import ConfigError, ServerError, ServerUnavailableError
from privzoo.serving import Server, add_flags

pytestmark = pytest.mark.server

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")


def gone(pid: int, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_it_serves_drains_and_ends_with_code_0(folder):
    with Server(folder / "slow", "slow") as server, ThreadPoolExecutor() as pool:
        pid = server.pid
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert httpx.get(f"{server.url}/v1/models/slow").json()["model_version_status"][0]["version"] == "1"
        url = f"{server.url}/v1/models/slow:predict"
        running = pool.submit(httpx.post, url, json={"instances": [400_000]}, timeout=120)
        time.sleep(0.5)
        os.kill(pid, signal.SIGINT)
        assert running.result().json() == {"predictions": [400_000]}
        with pytest.raises(ServerError, match="already running"):
            server.start()
        assert server.close() == 0
        assert server.pid is None and server.close() is None
    assert gone(pid)


def test_many_models_over_both_protocols_from_files(folder, tmp_path):
    """Two models, labels, batching, figures, a new version under way, and a stop that answers what runs."""
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    shutil.copytree(folder / "half" / "1", tmp_path / "half" / "1")
    (tmp_path / "models").write_text(
        f"""
        model_config_list {{
          config {{
            name: "half" base_path: "{tmp_path / "half"}" model_platform: "tensorflow"
            version_labels {{ key: "stable" value: 1 }} model_version_policy {{ all {{}} }}
          }}
          config {{ name: "slow" base_path: "{folder / "slow"}" model_platform: "tensorflow" }}
        }}
        """
    )
    (tmp_path / "batching").write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 500 }")
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    flags = ["--model_config_file", tmp_path / "models", "--enable_batching", "--file_system_poll_wait_seconds", "0.1"]
    flags += ["--batching_parameters_file", tmp_path / "batching", "--monitoring_config_file", tmp_path / "monitoring"]
    with Server(None, flags=[str(flag) for flag in flags], timeout=300) as server, ThreadPoolExecutor() as pool:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "half", "stable"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones(1, np.float32)))
        with grpc.insecure_channel(server.grpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert tf.make_ndarray(stub.Predict(request, timeout=60).outputs["y"]).tolist() == [1.5]
            shutil.copytree(folder / "half" / "2", tmp_path / "half" / ".2.part")
            os.rename(tmp_path / "half" / ".2.part", tmp_path / "half" / "2")
            url, deadline = f"{server.url}/v1/models/half:predict", time.monotonic() + 60
            while httpx.post(url, json={"instances": [1]}, timeout=60).json() != {"predictions": [2.5]}:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert tf.make_ndarray(stub.Predict(request, timeout=60).outputs["y"]).tolist() == [1.5]
            figures = httpx.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
            assert ':tensorflow:serving:request_count{model_name="half",status="OK"}' in figures
            assert "privzoo_models_available 2.0" in figures
            request.model_spec.name, request.inputs["n"].dtype = "slow", tf.int64.as_datatype_enum
            request.model_spec.ClearField("version_label")
            del request.inputs["x"]
            request.inputs["n"].CopyFrom(tf.make_tensor_proto(np.array([150_000])))
            over_grpc = pool.submit(stub.Predict, request, timeout=120)
            over_rest = pool.submit(
                httpx.post, f"{server.url}/v1/models/slow:predict", json={"instances": [150_000]}, timeout=120
            )
            # Both, and the one that asks for the figures.
            while (
                "privzoo_requests_running 3.0"
                not in httpx.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
            ):
                assert time.monotonic() < deadline + 60 and not over_rest.done() and not over_grpc.done()
            os.kill(server.pid, signal.SIGTERM)
            assert tf.make_ndarray(over_grpc.result().outputs["y"]).tolist() == [150_000]
            assert over_rest.result().json() == {"predictions": [150_000]}
        assert server.close() == 0


def test_it_is_gone_when_the_block_fails(folder):
    pid = None
    with pytest.raises(ZeroDivisionError):
        with Server(folder / "half", "half", flags=["--rest_api_num_threads", "1"]) as server:
            pid = server.pid
            raise ZeroDivisionError
    assert pid is not None and gone(pid, 1)


def test_it_ends_when_its_parent_is_killed(folder):
    code = (
        "import os, sys; from privzoo.serving import Server; "
        "s = Server(sys.argv[1], 'half').start(); print(s.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", code, str(folder / "half")], capture_output=True, text=True)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert gone(int(parent.stdout))


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(ServerError, match=r"ended with code 2 before it was ready: The folder .* does not exist"):
        Server(tmp_path / "none").start()
    (tmp_path / "1").mkdir()
    with pytest.raises(ServerError, match=r"1 has no saved_model.pb in it"):
        Server(tmp_path).start()
    (tmp_path / "1" / "saved_model.pb").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("--rest_api_port", "--port"):
            with pytest.raises(ServerError, match=f"Port {port} on 127.0.0.1 cannot be used .*another {flag}"):
                Server(tmp_path, flags=[flag, str(port)]).start()
    with pytest.raises(ServerError, match="give a --rest_api_port of 0 to 65535"):
        Server(tmp_path, flags=["--rest_api_port", "70000"]).start()
    with pytest.raises(ServerError, match="give another --host"):
        Server(tmp_path, flags=["--host", "no such host"]).start()
    with pytest.raises(ServerError, match="The model name 'a:b' is invalid"):
        Server(tmp_path, "a:b").start()
    for flag in ("--model_config_file", "--ssl_config_file", "--api_key_file", "--monitoring_config_file"):
        base = None if flag == "--model_config_file" else tmp_path
        with pytest.raises(ServerError, match="none.* cannot be read"):
            Server(base, flags=[flag, str(tmp_path / "none")]).start()
    with pytest.raises(ServerError, match="cannot be loaded as a SavedModel"):
        Server(tmp_path).start()


def test_a_server_that_takes_too_long_is_ended(tmp_path):
    server = Server(tmp_path, timeout=0.1)
    with pytest.raises(ServerUnavailableError, match="not ready within 0.1 s"):
        server.start()
    assert server.pid is None


def test_flags_have_tf_servings_names_and_refuse_nonsense(capsys):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = vars(parser.parse_args(["--model_base_path", "served/x"]))
    assert flags["rest_api_port"] == 8501 and flags["model_name"] == "default" and flags["host"] == "127.0.0.1"
    assert flags["port"] == 8500 and flags["enable_batching"] is False and flags["enable_model_warmup"] is True
    told = ["--model_config_file", "x", "--enable_batching", "--enable_model_warmup=false", "--port", "-1"]
    flags = vars(parser.parse_args(told))
    assert flags["enable_batching"] is True and flags["enable_model_warmup"] is False and flags["port"] == -1
    both = ["--model_config_file", "y"]
    for wrong in (["--rest_api_num_threads", "0"], ["--max_body_bytes", "x"], ["--header_seconds", "nan"], both, []):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong if not wrong else ["--model_base_path", "x", *wrong])
    capsys.readouterr()


def test_a_missing_folder_is_told_before_tensorflow_is_imported(tmp_path):
    from privzoo.serving import serve

    with pytest.raises(ConfigError, match="has no version of a model"):
        serve(tmp_path)


def test_answers_do_not_wait_for_nagle():
    """40 ms an answer, where the accepted socket does not say that it is TCP."""
    from privzoo.serving.engines.common import bind

    with bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
