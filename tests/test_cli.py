"""The command line without a model in memory: lists, cards, and every way to end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from cli_helpers import MODEL, privzoo_process

import privzoo
from privzoo import cli
from privzoo.costs import heads
from privzoo.errors import WeightsError
from privzoo.measurement import PART
from privzoo.mechanisms.budget import rounded_up

# What a reader of `privzoo list --json` may rely on, with the type of each.
FIELDS = {
    "name": str,
    "task": str,
    "classes": list,
    "network": str,
    "architecture": str,
    "cut": str,
    "embedding": str,
    "version": int,
    "input": str,
    "feature_shape": list,
    "feature_bytes": int,
    "head_parameters": int,
    "tail_parameters": int,
    "head_multiply_adds": int,
    "tail_multiply_adds": int,
    "measurements": list,
    "licence": str,
    "limits": list,
}


def test_list_json_has_every_fact_of_every_model(capsys):
    assert cli.main(["list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in entries] == privzoo.list_models()
    for entry in entries:
        for field, kind in FIELDS.items():
            assert isinstance(entry[field], kind), (entry["name"], field)
        for figure in entry["measurements"]:
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert {"metric", "variant", "data", "count", "date", "git", "command", "sha256"} <= figure.keys()


def test_a_card_prints_date_revision_interval_and_command_of_each_figure(capsys):
    card = privzoo.show(MODEL)
    assert cli.main(["show", MODEL]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = dict(reversed(line.split(". ", 1)) for line in lines if re.match(r"\d+\. `", line))
    assert set(commands) == {f"`{m.command}`" for m in card.measurements}
    rows = [line for line in lines if line.startswith("| ") and line.count(" | ") == 9][2:]
    assert len(rows) == len(card.measurements) > 5
    for row, m in zip(rows, card.measurements, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[-3:] == [m.date, m.git, commands[f"`{m.command}`"]]
        assert cells[4] == f"{m.shown(m.low)} to {m.shown(m.high)}"


@pytest.mark.parametrize("name", privzoo.list_models())
def test_a_card_has_one_row_for_each_quantity(name):
    for head in heads(privzoo.show(name).model):
        measured = privzoo.show(name, head).measurements
        whole = {(m.metric, m.variant, m.data) for m in measured}
        assert len(whole) == len(measured)
        parts = [(m.metric, m.variant, m.data.partition(PART)[0]) for m in measured if PART in m.data]
        assert not whole.intersection(parts)


def test_a_limit_says_how_a_face_may_lie():
    for name in privzoo.list_models():
        if (card := privzoo.show(name)).network.input == "speech":
            continue
        (limit,) = [limit for limit in card.to_dict()["limits"] if "frontal" in limit]
        assert "rotated by any angle" in limit


def test_list_prints_one_line_for_each_model(capsys):
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (header, *lines), notes = printed[: printed.index("")], printed[printed.index("") + 1 :]
    assert header.startswith("model ") and " identified " in header and header.endswith(" epsilon")
    assert [line.split()[0] for line in lines] == privzoo.list_models()
    for name, line in zip(privzoo.list_models(), lines, strict=True):
        card = privzoo.show(name)
        assert f" {card.identified()} " in line
        assert "not measured" not in line or not card.model.code
        assert line.endswith(rounded_up(card.epsilon()) if card.epsilon() else "no noise")
    assert any(note.startswith("identified: ") for note in notes) and any("For codes" in note for note in notes)
    assert any("int8 head if both" in note for note in notes)
    assert any("epsilon 42.9" in note and "99.9%" in note and "not by the budget" in note for note in notes)
    explained = [note.partition(": ") for note in notes if ": epsilon " in note]
    assert {said: names.split(", ") for names, _, said in explained} == {
        budget: [name for name in privzoo.list_models() if privzoo.show(name).budget() == budget]
        for budget in {privzoo.show(name).budget() for name in privzoo.list_models()} - {""}
    }
    assert not any("100.0%" in note or "lfw" in note or "fer2013" in note for note in notes)


def test_list_takes_a_pattern(capsys):
    assert cli.main(["list", "*_conv5_3", "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert names == privzoo.list_models("*_conv5_3") != []


def test_list_says_that_nothing_matches(capsys):
    assert cli.main(["list", "nothing_*"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "'nothing_*'" in printed.err
    assert cli.main(["list", "nothing_*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_show_prints_the_card(capsys):
    assert cli.main(["show", MODEL]) == 0
    assert capsys.readouterr().out == f"{privzoo.show(MODEL)}\n"
    assert cli.main(["show", MODEL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(privzoo.show(MODEL).to_dict()))


@pytest.mark.parametrize("command", [["show"], ["predict", "photo.jpg"], ["export", "--out", "nowhere"]])
def test_an_unknown_model_is_refused_in_one_sentence(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command[0], MODEL + "x", *command[1:]]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("privzoo: ") and f"'{MODEL}'" in printed.err
    assert not any(tmp_path.iterdir())


def test_an_unknown_quantization_is_refused_before_anything_is_loaded(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(privzoo, "load", lambda *_, **__: pytest.fail("loaded"))
    assert cli.main(["export", MODEL, "--out", str(tmp_path), "--quantization", "int4"]) == 2
    assert "'int4'" in capsys.readouterr().err


def test_unknown_flags_and_no_command_print_the_usage(capsys):
    for arguments in ([], ["list", "--colour"], ["predict", MODEL], ["predict", MODEL, "x", "--face", "guess"]):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 2
        assert "usage: privzoo" in capsys.readouterr().err


def test_a_head_that_a_model_lacks_is_refused_in_one_sentence(capsys):
    assert cli.main(["show", MODEL, "--head", "slim"]) == 2
    assert capsys.readouterr().err == f"privzoo: {MODEL} has no head 'slim'; it has full.\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"privzoo {privzoo.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (WeightsError("The file is damaged; fetch it again."), 2, "privzoo: The file is damaged; fetch it again.\n"),
        (PermissionError(13, "Permission denied", "/out"), 2, "privzoo: /out: Permission denied.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_exit_codes(error, code, text, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(privzoo, "show", fail)
    assert cli.main(["show", MODEL]) == code
    assert capsys.readouterr() == ("", text)


def test_a_defect_is_told_in_a_line_and_shown_in_full_when_verbose(capsys, monkeypatch):
    monkeypatch.setattr(privzoo, "show", lambda *_: {}["first"])
    assert cli.main(["show", MODEL]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "KeyError: 'first'" in printed and "--verbose" in printed
    for arguments in (["--verbose", "show", MODEL], ["show", MODEL, "--verbose"]):
        with pytest.raises(KeyError):
            cli.main(arguments)


def test_what_native_code_writes_to_standard_error_is_dropped_unless_verbose():
    code = (
        "import os, sys, privzoo.cli as cli\n"
        "cli.privzoo.show = lambda *of: [os.write(2, b'native'), print('python', file=sys.stderr)]\n"
        "cli.main(sys.argv[1:]); os.write(2, b'after')"
    )
    for flags, expected in ([], "python\nafter"), (["--verbose"], "nativepython\nafter"):
        done = subprocess.run([sys.executable, "-c", code, "show", "x", *flags], capture_output=True, timeout=60)
        assert done.stderr.decode() == expected


def test_a_reader_that_went_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = privzoo_process("list", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_told():
    with open("/dev/full", "w") as full:
        done = privzoo_process("list", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "privzoo: output: No space left on device.\n"


@pytest.mark.skipif(os.name != "posix", reason="closes the streams by a shell")
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&-"])
def test_closed_streams_are_no_error(closed):
    done = subprocess.run(f"{sys.executable} -m privzoo list {closed}", shell=True, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
