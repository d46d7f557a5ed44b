"""The files around the package: README, Makefile, continuous integration, style."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import PAGES, blocks

from privzoo import cli
from privzoo.config import ModelConfig, NetworkConfig, from_dict
from privzoo.data.splits import TRAINABLE

pytestmark = pytest.mark.all_models

ROOT = Path(__file__).resolve().parents[2]


def test_continuous_integration_runs_the_readmes_test_command():
    commands = [line.split("#")[0].strip() for line in blocks("README.md", "sh")[0].text.splitlines()]
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last.removeprefix("exec ") in commands
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_git_tracks_nothing_that_is_fetched_or_built():
    done = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:  # else an unpacked archive
        lines = done.stdout.splitlines()
        assert not [line for line in lines if line.startswith("120000") or "node_modules" in line or ".venv" in line]


def test_makefile_has_the_readmes_targets():
    for target in re.findall(
        r"^make (\w+)", "\n".join(block.text for block in blocks("README.md", "sh")), re.MULTILINE
    ):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_the_docs_name_every_command():
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    for command in ("list", "show", "predict", "export", "serve", "demo"):
        assert f"`privzoo {command}" in page
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_pages_name_files_that_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = [os.path.normpath(Path(page).parent / name) for name in re.findall(r"(?:\]\(|src=\")([\w./-]+)[)\"]", text)]
    named += re.findall(r"`((?:tools|tests|docs|privzoo)/[\w/.]+\.\w+|[\w]+\.(?:md|cfg|txt))`", text)
    for name in named:
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_configs_of_docs_training_are_valid():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    text, *models = (block.text for block in blocks("docs/training.md", "yaml"))
    network = from_dict(NetworkConfig, yaml.safe_load(text), "docs/training.md")
    assert network.training.dataset in TRAINABLE
    assert f"zoo_configs/networks/{network.name}.yaml" in page
    for model in (from_dict(ModelConfig, yaml.safe_load(text), "docs/training.md") for text in models):
        assert model.network == network.name and f"{model.name}.yaml" in page


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_style(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
