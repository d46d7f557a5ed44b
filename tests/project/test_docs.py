"""Every code block of README.md and docs/*.md says who runs it; those that can be are run here as they stand."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, ROOT, Block, blocks, write_commands
from PIL import Image

from privzoo import cli
from privzoo.audio.synthesis import words
from privzoo.serving import Server
from privzoo.serving.front.demo_page import RUNTIME

pytestmark = [pytest.mark.all_models, pytest.mark.server]

EXPORTED: dict[tuple[str, ...], Path] = {}  # by pages before
WAYS = {"run", "serve", "data", "by", "skip", "file"}
NO_DATA = ("DIR does not exist", "needs tensorflow_model_optimization")  # the latter in an environment of its own


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_who_runs_it(page):
    for block in blocks(page):
        where = f"{page}, line {block.line}"
        ways = WAYS.intersection(block.tags)
        assert block.tags.keys() <= WAYS | {"server"}, where
        assert len(ways) == 1 or (block.language == "text" and not block.tags), f"{where}: who runs this block?"
        if other := block.tags.get("by"):
            assert Path(page).name in (ROOT / other).read_text(encoding="utf-8"), f"{where}: {other} does not read it"
        if "skip" in ways:
            assert len(block.tags["skip"].split()) >= 3, f"{where}: give the reason"


class Scratch:
    """A newcomer's folder: photographs and what a page's blocks leave there, one after the other."""

    def __init__(self, place: Path, astronaut: np.ndarray) -> None:
        self.place, self.names, self.server = place, {}, None
        for name in ("photo.jpg", "anna.jpg", "ben.jpg"):
            Image.fromarray(astronaut).save(place / name)
        Image.fromarray(np.concatenate([astronaut, astronaut], axis=1)).save(place / "group.jpg")
        with wave.open(str(place / "clip.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(words(1)[0].tobytes())
        for part in ("tools", "deploy"):
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        write_commands(place / "bin")
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PRIVZOO_HOME": str(place / "home"),
        }

        def camera():
            for _ in range(2):
                time.sleep(0.1)
                yield astronaut

        self.names["camera"] = camera()

    def shell(self, command: str) -> subprocess.CompletedProcess:
        """Runs a line; what calls privzoo alone, in this process, where TensorFlow and the models are loaded."""
        words = shlex.split(command, comments=True)
        if words[0] == "privzoo" and ">" not in command:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = self.exported(words) if words[1] == "export" else cli.main(words[1:])
            return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
        options = {"capture_output": True, "text": True, "timeout": 300}
        return subprocess.run(command, shell=True, cwd=self.place, env=self.environment, **options)

    def exported(self, words: list[str]) -> int:
        """Exports a model; the second page that asks for the same gets a copy."""
        folder = self.place / words[words.index("--out") + 1]
        before = EXPORTED.setdefault(tuple(word for word in words if word not in ("--quantization", "int8")), folder)
        if before == folder:
            return cli.main(words[1:])
        shutil.copytree(before, folder)
        return 0

    def run(self, block: Block) -> None:
        """Runs a block as it stands, but for a server's address."""
        if block.language == "python":
            text = block.text
            if "server" in block.tags:
                served = next(path for path in (self.place / "served").iterdir() if path.is_dir())
                self.server = self.server or Server(served, served.name).start()
                text = text.replace("http://cloud:8501", self.server.url)
                text = text.replace("grpcs://cloud:8500", f"grpc://{self.server.grpc}")
            exec(compile("\n" * block.line + text, str(ROOT / block.page), "exec"), self.names)
            return
        for command in block.commands():
            done = self.shell(command)
            assert done.returncode == 0 and "Traceback" not in done.stderr, f"{command}: {done.stderr}"

    def serve(self, block: Block) -> None:
        """Starts the server of a block, on this machine and free ports, and ends it once it is ready."""
        (command,) = block.commands()
        words = shlex.split(command, comments=True)
        assert words[:2] == ["privzoo", "serve"]
        while "--host" in words:
            del words[words.index("--host") : words.index("--host") + 2]
        with Server(None, "unnamed", words[2:]) as server:
            assert server.url.startswith("https" if "--ssl_config_file" in words else "http")

    def refuse(self, block: Block) -> None:
        """A block that needs data sets says so, once its flags and names are read."""
        for command in block.commands():
            done = self.shell(command)
            last = (done.stderr.splitlines() or [""])[-1]
            assert done.returncode == 1 and any(words in last for words in NO_DATA), f"{command}: {done.stderr}"

    def write(self, block: Block) -> None:
        """Writes a block to its file, with folders of this place."""
        (self.place / block.tags["file"]).write_text(block.text.replace("/srv/", f"{self.place}/"), encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_blocks_run_in_their_order(page, astronaut, tmp_path, monkeypatch):
    if not (found := [block for block in blocks(page) if {"run", "serve", "data", "file"}.intersection(block.tags)]):
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path / "home"))
    scratch, missing = Scratch(tmp_path, astronaut), []
    if any("--ssl_config_file" in block.text for block in found):
        trustme = pytest.importorskip("trustme")
        certificate = trustme.CA().issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    try:
        for block in found:
            if block.tags.get("serve") == "npm" and not (ROOT / "tflite" / RUNTIME).exists():
                missing.append(f"{page}, line {block.line} needs npm ci --prefix tflite/web")
            elif "file" in block.tags:
                scratch.write(block)
            else:
                {"run": scratch.run, "serve": scratch.serve, "data": scratch.refuse}[
                    next(way for way in ("run", "serve", "data") if way in block.tags)
                ](block)
    finally:
        if scratch.server:
            scratch.server.close()
    if missing:
        pytest.skip("; ".join(missing))
