"""What docs/training.md says of one's own data, done word for word by a new user with sixty images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from pages import blocks, write_commands
from PIL import Image

from privzoo import config
from privzoo.data import splits
from privzoo.edge import Head
from privzoo.errors import PrivzooError
from privzoo.training import primary

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text("utf-8")
OWN = [block for block in blocks("docs/training.md") if block.tags.get("by") == "tests/project/test_own_data.py"]
#: Path and text of each YAML file that the page gives; the path is the last one named before it.
FILES = re.findall(r"`([\w/]+\.yaml)`:\n\n```yaml [^\n]*\n(.*?)```", PAGE, re.S)
COMMANDS = [line for block in OWN if block.language == "sh" for line in block.commands()]
SIZE = 48  # pixels, and one epoch: what the test changes in the page's text, as it allows


def write_images(folder: Path) -> None:
    """Thirty chips of each class, of ten people, of several sizes and modes, and what else lies in folders."""
    rng = np.random.default_rng(0)
    for c, name in enumerate(("glasses", "none")):
        (folder / name).mkdir(parents=True)
        for person in range(5):
            base = rng.integers(0, 150, (6, 6, 3)) + 60 * c
            for number in range(6):
                small = np.clip(base + rng.integers(0, 40, base.shape), 0, 255).astype(np.uint8)
                image = Image.fromarray(small).resize((60 + 7 * number, 60), Image.Resampling.BICUBIC)
                mode, ending = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png")][number % 3]
                image.convert(mode).save(folder / name / f"{name[0]}{person}__{number}.{ending}")
    (folder / "none" / ".DS_Store").write_bytes(b"x")
    (folder / "none" / "notes.txt").write_text("x")
    (folder / "none" / "damaged__1.jpg").write_bytes(b"x")


def in_shell(command: str, place: Path) -> subprocess.CompletedProcess:
    """Runs a line of the page in a copy of the checkout."""
    environment = os.environ | {
        "PYTHONPATH": str(place),
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PRIVZOO_HOME": str(place / "home"),
    }
    done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{command}: {done.stderr}"
    return done


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The checkout after the page's recipe; the installation is left out, as everything is installed."""
    place = tmp_path_factory.mktemp("checkout")
    for part in ("privzoo", "tools"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("cards", "models", "networks", "weights", "sweeps"):
        (place / "zoo_configs" / part).mkdir(parents=True)
    (place / "RESULTS.md").write_text("the zoo's")
    write_commands(place / "bin")
    write_images(place / "my_faces")
    for path, text in FILES:
        content = yaml.safe_load(text)
        if "training" in content:
            content["input_size"] = SIZE
            content["training"] |= {"stages": [{"input_size": SIZE, "epochs": 1}], "chip_size": SIZE + 8}
        (place / path).write_text(yaml.safe_dump(content))
    outputs = {line: in_shell(line, place) for line in COMMANDS}
    return place, outputs


def test_the_page_has_what_is_run_here():
    assert [text for _, text in FILES] == [block.text for block in OWN if block.language == "yaml"]
    assert [Path(path).stem for path, _ in FILES] == [
        "my_network",
        "my_network_simple_conv5_3",
        "my_network_reduced_simple_conv5_3",
    ]
    assert [line.split()[0] for line in COMMANDS] == ["python", "python", "python", "privzoo"]


def test_the_recipe_gives_weights_and_cards(recipe):
    place, outputs = recipe
    weights = {path.name for path in (place / "zoo_configs" / "weights").iterdir()}
    assert {"my_network.npz", "my_network.json", "my_network.png"} <= weights
    record = json.loads((place / "zoo_configs" / "weights" / "my_network.json").read_text("utf-8"))
    own = record["data"]["own"]
    assert own["images"] == {"glasses": 30, "none": 31} and sum(own["parts"].values()) == 61
    assert record["data"]["skipped"] == {"hidden": 1, "no image by its name": 1, "damaged image": 1}
    cards = {path.stem: json.loads(path.read_text("utf-8")) for path in (place / "zoo_configs" / "cards").iterdir()}
    assert set(cards) == {"my_network_simple_conv5_3", "my_network_reduced_simple_conv5_3"}
    for measurements in cards.values():
        assert {m["data"] for m in measurements} == {"my_faces-test"}
        whole = {m["count"] for m in measurements if m["metric"] == "accuracy"}  # others are of one class
        assert whole and whole <= {own["parts"]["test"], own["parts"]["test"] - 1}
    shown = list(outputs.values())[-1].stdout
    assert "trained on own images in the folder my_faces" in shown and "public" not in shown
    assert "licence: mine" in shown and "accuracy | int8 TFLite head + tail | my_faces-test" in shown


def test_the_fitted_model_is_entered_where_the_page_says(recipe):
    place, _ = recipe
    written = place / "zoo_configs" / "models" / "my_network_reduced_simple_conv5_3.yaml"
    assert f"`{written.relative_to(place)}`" in PAGE and "weights" in yaml.safe_load(written.read_text("utf-8"))


def test_figures_of_own_models_stand_apart(recipe):
    place, _ = recipe
    assert (place / "RESULTS.md").read_text() == "the zoo's"
    assert "my_network_reduced_simple_conv5_3" in (place / "RESULTS_my_network.md").read_text("utf-8")


def test_own_people_are_attacked(recipe):
    place, _ = recipe
    command = "python tools/audit.py --model my_network_reduced_simple_conv5_3 --data_dir my_faces --quick --nowrite"
    done = in_shell(f"{command} --engine local", place)
    assert re.search(r"identity top-1 +features", done.stdout)
    assert re.search(r"identity top-1 +chance .* 10\.0%", done.stdout)  # of ten people
    assert "no faces were reconstructed" in done.stdout
    folder = place / "runs" / "cache" / "audit_quick_my_network"
    assert {path.name for path in folder.iterdir()} == {"raw_pixels.json", "my_network_reduced_simple_conv5_3.json"}


def test_a_model_is_exported_and_answers(recipe):
    place, _ = recipe
    in_shell("privzoo export my_network_reduced_simple_conv5_3 --out served", place)
    assert (place / "served" / "my_network_reduced_simple_conv5_3" / "1" / "saved_model.pb").exists()
    head = Head(place / "served" / "my_network_reduced_simple_conv5_3_int8.tflite")
    assert head.features(np.zeros((1, SIZE, SIZE, 3), np.uint8)).shape == (1, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["glasses"]}, "has a folder none, which is not one of the classes glasses"),
        ({"classes": ["glasses", "none", "hats"]}, "has no image of the class hats"),
        ({"classes": ["glasses", False]}, "which is not of type str; put it in quotes"),
    ],
)
def test_slips_get_one_sentence(tmp_path, change, words):
    write_images(tmp_path / "my_faces")
    (tmp_path / "slip.yaml").write_text(yaml.safe_dump(yaml.safe_load(FILES[0][1]) | change))
    with pytest.raises(PrivzooError, match=words):
        splits.of_network(config.read(config.NetworkConfig, tmp_path / "slip.yaml"), tmp_path / "my_faces")


def test_one_class_is_too_few(tmp_path):
    write_images(tmp_path / "my_faces")
    shutil.rmtree(tmp_path / "my_faces" / "none")
    network = config.from_dict(
        config.NetworkConfig, yaml.safe_load(FILES[0][1]) | {"classes": ["glasses"], "name": "one"}, "one"
    )
    with pytest.raises(PrivzooError, match="one has one class, glasses; a network needs two or more"):
        primary.train(network, *splits.of_network(network, tmp_path / "my_faces"), tmp_path / "run")
