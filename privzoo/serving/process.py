"""A server in a separate process, for the demo, tests and programs that embed it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from privzoo.errors import ServerError, ServerUnavailableError

_READY = re.compile(rb"^privzoo serves .* at (https?://\S+)$", re.MULTILINE)
_GRPC = re.compile(rb"^privzoo listens for gRPC at (\S+)$", re.MULTILINE)
_POLL_SECONDS = 0.05
_STOP_SECONDS = 35.0  # the server's own time to drain, and a little more


class Server:
    """Starts `python -m privzoo.serving` on a free loopback port, and makes sure that it ends.

    As a context manager it is ready inside the block and gone after it, whatever happens there; if this process is
    killed, the server ends by itself.

    Args:
        model_base_path: folder with `<version>/saved_model.pb` in it; None if `flags` names a config file.
        model_name: name under which clients ask for the model.
        flags: more flags of `privzoo serve`.
        timeout: seconds within which it must be ready.

    Example:
        >>> with Server("served/my_model", "my_model") as server:  # doctest: +SKIP
        ...     client = Client(head, server.url)
    """

    def __init__(
        self,
        model_base_path: str | os.PathLike[str] | None,
        model_name: str = "default",
        flags: Sequence[str] = (),
        timeout: float = 120.0,
    ) -> None:
        self.model_base_path, self.model_name = model_base_path, model_name
        self.flags, self.timeout = tuple(flags), timeout
        self.url = ""  # address of the REST interface, once started
        self.grpc = ""  # host:port of the gRPC interface, once started
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Server:
        """Starts the server."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Ends the server."""
        self.close()

    @property
    def pid(self) -> int | None:
        """Process ID of the server; None if it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Server:
        """Starts the server and waits until its model is available.

        Returns:
            Itself.

        Raises:
            ServerError: it ended before that; the message has its last line of output.
            ServerUnavailableError: it was not ready in time.
        """
        if self._process is not None:
            raise ServerError("This server is already running; close it first.")
        # Files, not pipes: the server continues even if nobody reads them.
        self._folder = tempfile.TemporaryDirectory(prefix="privzoo-server-")
        said = Path(self._folder.name)
        command = [sys.executable, "-m", "privzoo.serving", "--model_name", self.model_name]
        if self.model_base_path is not None:
            command += ["--model_base_path", os.fspath(self.model_base_path)]
        command += ["--host", "127.0.0.1", "--port", "0", "--rest_api_port", "0"]
        try:
            with open(said / "out", "wb") as out, open(said / "err", "wb") as err:
                process = self._process = subprocess.Popen(
                    [*command, "--stop_on_eof", *self.flags],
                    stdin=subprocess.PIPE,  # closes with this process, however that ends
                    stdout=out,
                    stderr=err,
                    env=os.environ | {"PYTHONPATH": _python_path()},
                )
            self._wait(process, said)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> int | None:
        """Ends the server: it answers the requests in progress, or is killed if that takes too long.

        Returns:
            Its exit code; None if it was not running.
        """
        process, self._process = self._process, None
        try:
            if process is None:
                return None
            process.terminate()
            assert process.stdin is not None, "start() opens a pipe"
            process.stdin.close()
            try:
                return process.wait(_STOP_SECONDS)
            except BaseException:  # an impatient Ctrl-C too
                process.kill()
                return process.wait()
        finally:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _wait(self, process: subprocess.Popen[bytes], said: Path) -> None:
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            code = process.poll()
            if code is not None:
                raise ServerError(f"The server ended with code {code} before it was ready: {_last_words(said)}")
            ready = _READY.search((said / "out").read_bytes())
            if ready:
                self.url = ready[1].decode()
                over_grpc = _GRPC.search((said / "out").read_bytes())
                self.grpc = over_grpc[1].decode() if over_grpc else ""
                return
            time.sleep(_POLL_SECONDS)
        raise ServerUnavailableError(
            f"The server was not ready within {self.timeout:g} s: {_last_words(said)}; give it a longer timeout."
        )


def _last_words(said: Path) -> str:
    lines = [line for line in (said / "err").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("privzoo: ") if lines else "no output"


def _python_path() -> str:
    """PYTHONPATH with which the child imports this same privzoo, installed or not."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
