"""What is installed: complete wheels, one TensorFlow, pinned versions."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import privzoo
from privzoo import config

pytestmark = pytest.mark.all_models

ROOT = Path(__file__).resolve().parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

# Figures, and configs without weights.
NOT_FOR_USE = tuple(f"zoo_configs/{name}/" for name in ("campaigns", "optimised", "planned", "sweeps"))
# Whose weights an install brings: the networks and cuts of the released heads.
INSTALLED = re.compile(r"vgg16_gender(_.*(conv5_3(_slim)?|fc8))?|vgg_s_emotion(_.*(conv5|fc8))?")
LARGEST_WHEEL = 60e6  # bytes


def entries(text: str) -> list[str]:
    """Lines of a list in setup.cfg."""
    return [line for line in text.splitlines() if line.strip()]


def files_under(folder: Path) -> set[str]:
    """Files that belong to the project, as paths from the folder's parent."""
    found = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(folder.parent).as_posix() for path in found if path.name != ".gitkeep"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel, built from a copy so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("privzoo", "tflite", "zoo_configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    command = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, source]
    subprocess.run(command, check=True, timeout=300)
    (path,) = out.iterdir()
    return path


def test_wheel_holds_the_package_the_configs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    configs = {
        f"privzoo/{name}"
        for name in files_under(ROOT / "zoo_configs")
        if not name.endswith((".png", ".npz")) and not name.startswith(NOT_FOR_USE)
    }
    weights = {
        f"privzoo/zoo_configs/weights/{path.name}"
        for path in (ROOT / "zoo_configs" / "weights").glob("*.npz")
        if INSTALLED.fullmatch(path.stem)
    }
    heads = {
        f"privzoo/{path.relative_to(ROOT)}"
        for pattern in ("*.tflite", "manifest.json", "golden/*.png")
        for path in (ROOT / "tflite").glob(pattern)
    }
    assert names == files_under(ROOT / "privzoo") | configs | weights | heads
    assert wheel.stat().st_size < LARGEST_WHEEL
    assert "privzoo/py.typed" in names  # its types are for those who import it too
    assert wheel.name == f"privzoo-{privzoo.__version__}-py3-none-any.whl"


def test_wheel_carries_licence_and_entry_point(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        information = archive.read(f"{folder}/METADATA").decode()
        assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert "privzoo = privzoo.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()
    assert "License-Expression: Apache-2.0" in information
    assert "Requires-Python: >=3.10" in information


def test_wheel_has_the_recommended_models_away_from_the_checkout_and_says_where_the_others_are(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [*PIP, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel]
    subprocess.run(command, check=True, timeout=300)
    code = (
        "import privzoo; from privzoo import config, edge, errors, weights\n"
        "from privzoo.edge.golden import verify\n"
        "print(*privzoo.list_models(), sep='\\n')\n"
        "package = config.__file__[:-len('/config.py')]\n"
        "assert config.config_folder().is_relative_to(package) and config.heads_folder().is_relative_to(package)\n"
        "for name in privzoo.list_models():\n"
        "    weights.load(config.network(config.model(name).network))\n"
        "verify(config.heads_folder())\n"
        "edge.Head(edge.released_head('vgg16_gender_coded_conv5_3'))\n"
        "try: weights.load(config.network('vgg_s_gender'))\n"
        "except errors.WeightsError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(target), "PRIVZOO_HOME": str(elsewhere)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    *names, message = done.stdout.splitlines()
    models = map(config.model, privzoo.list_models())
    assert names == [
        model.name
        for model in models
        if INSTALLED.fullmatch(model.network) and (model.weights is None or INSTALLED.fullmatch(model.name))
    ]
    assert {"vgg16_gender_coded_conv5_3", "vgg_s_emotion_advanced_conv5", "vgg16_gender_siamese_conv5_3"} < set(names)
    assert "vgg_s_gender.npz" in message and "checkout" in message


def test_setup_names_every_package():
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("privzoo/**/*.py")}
    assert set(entries(SETUP["options"]["packages"])) == packages | {"privzoo.tflite", "privzoo.zoo_configs"}


def requirements(extra: str | None = None) -> list[Requirement]:
    """What setup.cfg requires directly, without extras or for one."""
    text = SETUP["options.extras_require"][extra] if extra else SETUP["options"]["install_requires"]
    found = [Requirement(line) for line in entries(text)]
    return [r for r in found if r.name != "privzoo" and (r.marker is None or r.marker.evaluate())]


EXTRAS = (None, *SETUP["options.extras_require"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_tested_versions_lie_in_the_bounds(extra):
    lines = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    tested = {canonicalize_name(line.name): line.specifier for line in lines}
    for requirement in requirements(extra):
        (pin,) = tested[canonicalize_name(requirement.name)]
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), requirement
        assert any(bound.operator == ">=" for bound in requirement.specifier), f"{requirement} has no lower bound"


def test_plain_install_brings_no_training_stack():
    names = {requirement.name for requirement in requirements()}
    assert not names & {"tensorflow", "keras", "scikit-image", "scikit-learn", "scipy", "matplotlib", "starlette"}


def test_one_distribution_provides_tensorflow():
    providers = metadata.packages_distributions()["tensorflow"]
    assert len(set(providers)) == 1, f"{providers} overwrite each other; uninstall all, then install tensorflow"


def test_no_extra_asks_for_a_second_tensorflow():
    names = {requirement.name for extra in EXTRAS for requirement in requirements(extra)}
    # The stubs require plain tensorflow themselves, and are none.
    assert {name for name in names if re.match("tensorflow|tf[-_]", name)} == {
        *("tensorflow", "tensorflow-model-optimization", "tensorflow-serving-api", "tf_keras")
    }


def test_installed_packages_fit_each_other():
    done = subprocess.run([*PIP, "check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
