"""`privzoo predict` on many photographs: bad ones, several faces, and names and outputs of every encoding."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import MODEL
from PIL import Image

import privzoo
from privzoo import cli, console
from privzoo.errors import BudgetError
from privzoo.mechanisms.budget import rounded_up
from privzoo.mechanisms.gaussian import Gaussian

pytestmark = pytest.mark.all_models

NOISY, CODED = "vgg16_gender_advanced_conv5_3", "vgg16_gender_coded_conv5_3"
RAW = b"caf\xe9 \xff.png"  # no UTF-8
UTF8 = "Zoë 愛.png"
ASCII_C = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII_OUT = {"PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut) -> Path:
    """good.png, two.png with two faces, grey.png with none, text.jpg, and names in several encodings."""
    found = tmp_path_factory.mktemp("photographs")
    Image.fromarray(astronaut).save(found / "good.png")
    Image.fromarray(np.concatenate([astronaut, astronaut], axis=1)).save(found / "two.png")
    Image.new("RGB", (200, 200), "grey").save(found / "grey.png")
    (found / "text.jpg").write_text("Dear Sir")
    for name in (RAW, UTF8.encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(found), name))).write_bytes((found / "good.png").read_bytes())
    return found


def process(*arguments: str | bytes | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """`privzoo predict` in a process of its own; its output stays bytes."""
    return subprocess.run(
        [sys.executable, "-m", "privzoo", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(privzoo.__file__).parents[1])} | environment,
        capture_output=True,
        timeout=300,
    )


def predict(capsys, *arguments: str | Path) -> tuple[int, dict, str]:
    code = cli.main(["predict", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if printed.out else None, printed.err


def test_one_bad_photograph_does_not_stop_the_others(folder, capsys):
    names = [folder / name for name in ("grey.png", "good.png", "text.jpg", "two.png", "away.png")]
    code, found, errors = predict(capsys, MODEL, *names)
    assert code == 3
    assert [Path(one["image"]).name for one in found["answers"]] == ["good.png", "two.png"]
    assert [Path(one["image"]).name for one in found["skipped"]] == ["grey.png", "text.jpg", "away.png"]
    assert found["noise"] is None and found["answers"][1]["faces"] == 2
    expected = [f"privzoo: {one['image']}: {one['reason']}" for one in found["skipped"]]
    assert errors.splitlines() == [*expected, "privzoo: 3 of 5 photographs got no answer."]
    assert "--face given" in errors and "face=" not in errors
    assert cli.main(["predict", MODEL, *map(str, names)]) == 3
    table = capsys.readouterr()
    assert len(table.out.splitlines()) == 3 and "  1 of 2  " in table.out and table.err == errors


def test_strict_stops_at_the_first(folder, capsys):
    names = [folder / name for name in ("good.png", "text.jpg", "grey.png")]
    code, found, errors = predict(capsys, MODEL, *names, "--strict")
    assert (code, found) == (2, None) and errors.count("\n") == 1 and "text.jpg" in errors


def test_all_skipped(folder, capsys):
    for model in (MODEL, NOISY):
        code, found, errors = predict(capsys, model, folder / "grey.png", folder / "text.jpg")
        assert code == 2 and found["answers"] == [] and len(found["skipped"]) == 2
        assert found["noise"] is None  # nothing was drawn
        assert errors.splitlines()[-1] == "privzoo: 2 of 2 photographs got no answer."


def test_the_demo_prints_its_object_too_where_all_are_skipped(folder, capsys):
    names = [str(folder / "grey.png"), str(folder / "text.jpg")]
    assert cli.main(["demo", "--model", MODEL, "--json", "--image", *names]) == 2
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["model"] == MODEL and found["answers"] == []
    assert [one["image"] for one in found["skipped"]] == names
    assert "--face given" in found["skipped"][0]["reason"]
    assert printed.err.splitlines()[-1] == "privzoo: 2 of 2 photographs got no answer."


def test_pipes_are_skipped_without_waiting(folder, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    code, found, _ = predict(capsys, MODEL, tmp_path / "pipe.png", folder / "good.png")
    assert code == 3 and "a pipe or a device" in found["skipped"][0]["reason"]


def test_a_fault_that_concerns_all_is_no_skipping(folder, capsys, monkeypatch):
    def refuse(*_, **__):
        raise BudgetError("The total is spent.")

    monkeypatch.setattr("privzoo.model.SplitModel.features", refuse)
    assert predict(capsys, MODEL, folder / "good.png", folder / "grey.png") == (
        2,
        None,
        "privzoo: The total is spent.\n",
    )


def test_all_faces(folder, capsys):
    code, found, _ = predict(capsys, MODEL, folder / "two.png", folder / "good.png", "--all-faces")
    assert code == 0
    places = [(Path(one["image"]).name, one["number"], one["faces"]) for one in found["answers"]]
    assert places == [("two.png", 1, 2), ("two.png", 2, 2), ("good.png", 1, 1)]
    for one in found["answers"]:
        assert 0.7 < one["score"] <= 1 and one["rotation"] == 0 and one["face"].keys() == {"x", "y", "size"}
    assert cli.main(["predict", MODEL, "x.png", "--all-faces", "--face", "given"]) == 2
    assert capsys.readouterr().err.endswith("leave out --face given or --all-faces.\n")


def test_a_turned_face_has_its_rotation(folder, tmp_path, capsys):
    Image.open(folder / "good.png").rotate(-90, expand=True).save(tmp_path / "turned.png")  # clockwise
    _, found, _ = predict(capsys, MODEL, tmp_path / "turned.png")
    assert found["answers"][0]["rotation"] == pytest.approx(90, abs=15)


def test_what_was_drawn_is_said(folder, capsys):
    noise = privzoo.show(NOISY).model.noise
    own = Gaussian(noise.sigma, noise.clip)
    _, found, _ = predict(capsys, NOISY, folder / "good.png")
    assert found["noise"] == {
        "kind": "gaussian",
        "sigma": noise.sigma,
        "epsilon": own.epsilon(),
        "delta": 1e-5,
        "drawn": True,
    }
    _, found, _ = predict(capsys, NOISY, folder / "good.png", "--epsilon", "8", "--delta", "1e-6")
    assert (found["noise"]["epsilon"], found["noise"]["delta"]) == (8, 1e-6)  # as it was given, to the last digit
    assert 7.99999 < Gaussian(found["noise"]["sigma"], noise.clip).epsilon(delta=1e-6) <= 8
    assert cli.main(["predict", NOISY, str(folder / "good.png")]) == 0
    note = capsys.readouterr().out.splitlines()[-1]
    assert f"epsilon {rounded_up(own.epsilon())} at delta 1e-05" in note and "Another call gives another answer" in note


def test_a_code_says_its_budget(folder, capsys):
    code = privzoo.show(CODED).model.code
    said = {"kind": "randomized_response", "k": code.symbols, "delta": 0.0, "drawn": True}
    _, found, _ = predict(capsys, CODED, folder / "good.png")
    assert found["noise"] == {**said, "epsilon": code.epsilon}
    _, found, _ = predict(capsys, CODED, folder / "good.png", "--epsilon", "6")
    assert found["noise"] == {**said, "epsilon": 6.0}
    assert cli.main(["predict", CODED, str(folder / "good.png"), "--epsilon", "2.5"]) == 0
    note = capsys.readouterr().out.splitlines()[-1]
    assert f"one of {code.symbols} symbols" in note and "epsilon 2.5 at delta 0 per face" in note
    assert cli.main(["list", CODED]) == 0
    listed = capsys.readouterr().out
    assert "1 symbol" in listed and "epsilon 3 at delta 0: from one answer no attacker identifies more than" in listed
    assert cli.main(["show", CODED]) == 0
    assert "- feature: 1 symbol, 1 byte" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["predict", NOISY, "x.png"], ["demo"]])
def test_noise_cannot_be_switched_off(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--no-noise"])
    assert end.value.code == 2
    assert "--no-noise is refused: only noise guarantees" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([NOISY, "--epsilon", "nan"], "--epsilon nan is not valid; give a finite number above 0."),
        ([NOISY, "--epsilon", "-1"], "--epsilon -1.0 is not valid; give a finite number above 0."),
        ([NOISY, "--epsilon", "4", "--delta", "1"], "--delta 1.0 is not valid"),
        ([MODEL, "--epsilon", "4"], "adds no noise"),
        ([CODED, "--epsilon", "50"], "--epsilon 50.0 is not a budget for a code; give a number from"),
        ([CODED, "--epsilon", "nan"], "--epsilon nan is not a budget for a code; give a number from"),
        (
            [CODED, "--delta", "1e-6"],
            f"--delta 1e-06 is not part of the budget of {CODED}, whose code keeps its epsilon",
        ),
        ([CODED, "--epsilon", "4", "--delta", "1e-6"], "--delta 1e-06 is not part of the budget"),
        ([NOISY, "--delta", "1e-6"], "--delta 1e-06 is only half of a budget; give an epsilon with it"),
        ([MODEL, "--delta", "1e-6"], f"--delta 1e-06 is not used by {MODEL}, which adds no noise"),
        (["nothing"], "privzoo list shows all."),
    ],
)
def test_errors_are_in_the_words_of_the_command_line(arguments, sentence, capsys):
    assert cli.main(["predict", arguments[0], "x.png", *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and "list_models" not in error


def test_python_words_are_translated():
    for python, own in [
        ('give a face chip with face="given".', "give a face chip with --face given."),
        ("choose another version, or pass overwrite=True.", "choose another version, or give --overwrite."),
        ("version=0 is not valid; give a whole number, 1 or more.", "--version 0 is not valid; give a whole"),
        ("No finite noise keeps epsilon=1e-300, delta=0.5; give", "keeps --epsilon 1e-300 --delta 0.5; give"),
        ('or pass face="given" for chips.', "or give --face given for chips."),
    ]:
        assert own in console.in_own_words(python)


def test_no_sentence_that_a_command_can_reach_advises_python():
    """What reads as Python's arguments in the sources of errors is translated."""
    package = Path(privzoo.__file__).parent
    parts = ["*.py", "faces/*.py", "export/*.py", "mechanisms/gaussian.py", "mechanisms/budget.py"]
    phrase = re.compile(
        r"""(?:pass|with|give|leave out) ([a-z_]+=(?:True|["'][a-z]+["']))|\b(privzoo\.list_models\(\))"""
    )
    found = []
    for path in (path for part in parts for path in package.glob(part) if path.name != "console.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := phrase.search(line):
                found.append(match[1] or match[2])
                assert not phrase.search(console.in_own_words(line)), f"{path}: {line}"
    assert len(found) >= 4


@pytest.mark.parametrize("environment", [{}, ASCII_C, ASCII_OUT, ASCII_C | ASCII_OUT], ids=["", "C", "ascii", "both"])
def test_names_of_every_encoding(folder, environment):
    raw_bad = b"f\xe9.png"
    done = process("predict", MODEL, RAW, UTF8.encode(), raw_bad, "--json", cwd=folder, **environment)
    assert done.returncode == 3 and b"Traceback" not in done.stderr
    found = json.loads(done.stdout.decode("utf-8", "strict"))
    names = [one["image"] for one in (*found["answers"], *found["skipped"])]
    assert [os.fsencode(name) for name in names] == [RAW, UTF8.encode(), raw_bad]
    assert rb"f\udce9.png: there is no such file" in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_json_is_plain_utf_8_whatever_the_encoding(encoding, tmp_path):
    expected = process("list", MODEL, "--json", cwd=tmp_path).stdout
    done = process("list", MODEL, "--json", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, expected) and json.loads(done.stdout.decode("utf-8"))


@pytest.mark.parametrize("environment", [ASCII_C, ASCII_OUT], ids=["C", "ascii"])
def test_a_table_escapes_what_the_output_lacks(folder, environment):
    done = process("predict", MODEL, RAW, UTF8.encode(), cwd=folder, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    header, first, second = done.stdout.decode("ascii").splitlines()
    assert first.startswith(r"caf\udce9 \udcff.png") and second.startswith(r"Zo\xeb \u611b.png")
    assert header.index("label") == first.index("male" if " male" in first else "female")


def test_a_name_cannot_write_to_the_terminal(folder, tmp_path, capsys):
    name = tmp_path / "a\x1b[2Jb\nc.png"
    assert cli.main(["predict", MODEL, str(name), str(folder / "good.png")]) == 3
    printed = capsys.readouterr()
    assert r"a\x1b[2Jb\nc.png: there is no such file" in printed.err and "\x1b" not in printed.err


@pytest.mark.parametrize("command", [["list"], ["show", NOISY], ["list", "--json"], ["--help"], ["predict", "--help"]])
def test_every_command_prints_in_ascii(command, tmp_path):
    done = process(*command, cwd=tmp_path, **ASCII_C, **ASCII_OUT)
    assert (done.returncode, done.stderr) == (0, b"")


def test_list_leaves_out_what_lacks_its_weights(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVZOO_HOME", str(tmp_path))
    monkeypatch.delenv("PRIVZOO_WEIGHTS_URL", raising=False)
    everything, waiting = privzoo.list_models(), privzoo.list_models("vgg_s*", planned=True)
    assert not set(everything) & set(privzoo.list_models(planned=True))
    real = privzoo.weights.available
    monkeypatch.setattr("privzoo.weights.available", lambda entry: "vgg_s" not in entry.file and real(entry))
    left = privzoo.list_models()
    gone = [name for name in everything if name.startswith("vgg_s")]
    assert left == [name for name in everything if name not in gone] and gone
    gone = sorted([*gone, *waiting])
    assert privzoo.list_models("vgg_s*", planned=True) == gone
    assert cli.main(["list", "vgg_s*", "--planned", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed if one["kind"] == "model"] == gone
    assert cli.main(["list", "vgg_s*", "--planned"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["kind", "name", "network", "cut", "embedding", "missing"]
    assert all(name in table for name in gone) and "the file vgg_s_" in table
    assert cli.main(["list", "vgg_s*"]) == 0
    assert "privzoo list --planned" in capsys.readouterr().err


def test_permanent_answers_repeat_and_say_so(folder, tmp_path, capsys):
    photograph, secret = folder / "good.png", tmp_path / "secret"
    options = (CODED, photograph, "--epsilon", "0.5", "--permanent", secret)
    found = [predict(capsys, *options, "--slot", "anna")[1] for _ in range(3)]
    assert found[0] == found[1] == found[2] and found[0]["noise"]["slot"] == "anna"
    assert len({json.dumps(predict(capsys, *options, "--slot", str(k))[1]["answers"]) for k in range(12)}) > 1
    assert cli.main(["predict", *map(str, options), "--slot", "anna"]) == 0
    assert "for the slot 'anna': epsilon 0.5 at delta 0 for each different symbol" in capsys.readouterr().out
    model = privzoo.load(CODED, epsilon=0.5, permanent=secret)
    answers = [model.predict(photograph, slot="anna") for _ in range(3)]
    assert all((one == answers[0]).all() for one in answers)
    assert answers[0].max() == pytest.approx(max(found[0]["answers"][0]["probabilities"].values()), abs=1e-6)
    for wrong, words in (
        ((*options,), "give --slot NAME"),
        ((CODED, photograph, "--slot", "anna"), "give --permanent FILE"),
        ((NOISY, photograph, "--permanent", secret, "--slot", "a"), "has no code"),
        ((CODED, photograph, "--permanent", tmp_path, "--slot", "a"), "The secret"),
    ):
        code, _, errors = predict(capsys, *wrong)
        assert code == 2 and words in errors and errors.count("\n") == 1
