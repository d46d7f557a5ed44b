"""The server as a process: how it starts, how it ends, and that it always does."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_models import build

from privzoo.errors import ConfigError, ServerError, ServerUnavailableError
from privzoo.serving import Server, add_flags

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    pytest.importorskip("tensorflow")
    return build(tmp_path_factory.getbasetemp() / "served")


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
        with pytest.raises(ServerError, match="runs already"):
            server.start()
        assert server.close() == 0
        assert server.pid is None and server.close() is None
    assert gone(pid)


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
    with pytest.raises(ServerError, match=r"ended with code 2 before it was ready: The folder .* is not there"):
        Server(tmp_path / "none").start()
    (tmp_path / "1").mkdir()
    with pytest.raises(ServerError, match=r"1 has no saved_model.pb in it"):
        Server(tmp_path).start()
    (tmp_path / "1" / "saved_model.pb").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} on 127.0.0.1 cannot be used"):
            Server(tmp_path, flags=["--rest_api_port", str(port)]).start()
    with pytest.raises(ServerError, match="give a --rest_api_port of 0 to 65535"):
        Server(tmp_path, flags=["--rest_api_port", "70000"]).start()
    with pytest.raises(ServerError, match="give another --host"):
        Server(tmp_path, flags=["--host", "no such host"]).start()
    with pytest.raises(ServerError, match="The model name 'a:b' cannot be"):
        Server(tmp_path, "a:b").start()


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
    for wrong in (["--rest_api_num_threads", "0"], ["--max_body_bytes", "x"], []):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong if not wrong else ["--model_base_path", "x", *wrong])
    capsys.readouterr()


def test_a_missing_folder_is_told_before_tensorflow_is_imported(tmp_path):
    from privzoo.serving import serve

    with pytest.raises(ConfigError, match="has no version of a model"):
        serve(tmp_path)


def test_answers_do_not_wait_for_nagle():
    """40 ms an answer, where the accepted socket does not say that it is TCP."""
    from privzoo.serving.server import _bind

    with _bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
