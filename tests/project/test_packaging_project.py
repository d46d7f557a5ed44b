"""The files around the package: README, Makefile, continuous integration, style."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from privzoo import cli
from privzoo.config import ModelConfig, NetworkConfig, from_dict
from privzoo.data.splits import TRAINABLE

pytestmark = pytest.mark.all_models

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code of a language in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_continuous_integration_runs_the_readmes_test_command():
    commands = [line.split("#")[0].strip() for line in blocks("sh")[0].splitlines()]
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last.removeprefix("exec ") in commands
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_git_tracks_nothing_that_is_fetched_or_built():
    done = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:  # else an unpacked archive
        lines = done.stdout.splitlines()
        assert not [line for line in lines if line.startswith("120000") or "node_modules" in line or ".venv" in line]


def test_makefile_has_the_readmes_targets():
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_readme_names_every_command():
    for command in ("list", "show", "predict", "export", "serve", "demo"):
        assert f"`privzoo {command}" in README
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_name_files_that_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"\]\(([\w./-]+)\)", text)
    named += re.findall(r"`((?:tools|tests|docs|privzoo)/[\w/.]+\.\w+|[\w]+\.(?:md|cfg|txt))`", text)
    for name in named:
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_readmes_configs_are_valid():
    text, *models = blocks("yaml")
    network = from_dict(NetworkConfig, yaml.safe_load(text), "README.md")
    assert network.training.dataset in TRAINABLE
    assert f"zoo_configs/networks/{network.name}.yaml" in README
    for model in (from_dict(ModelConfig, yaml.safe_load(text), "README.md") for text in models):
        assert model.network == network.name and f"{model.name}.yaml" in README


def test_readmes_python_runs(astronaut, tmp_path, monkeypatch):
    """The first block as it stands; the second with the address and photographs of this machine."""
    from privzoo.serving import Server

    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "anna.jpg", "ben.jpg"):
        Image.fromarray(astronaut).save(name)
    zoo, ledger, device = blocks("python")[:3]  # a fourth wants a camera, and a server with a key
    exec(compile(zoo, "README.md", "exec"), {})
    names: dict = {}
    exec(compile(ledger, "README.md", "exec"), names)
    assert names["head"].remaining() >= 12 / 4  # Gaussian noise adds up to less than the sum
    (served,) = (tmp_path / "served").iterdir()
    with Server(served, served.name) as server:
        exec(compile(device.replace("http://cloud:8501", server.url), "README.md", "exec"), {})


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_style(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
