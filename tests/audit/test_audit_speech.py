"""The identity attack on speakers: protocol 10's split, its yardstick, and what cards and tables then say of whom."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import speech_zoo
from data_fakes import write_folder

import privzoo
from privzoo import audio, config, measurement
from privzoo.audio.synthesis import words
from privzoo.audit import cells, limits, model_audit, own, pair_cells, raw_spectrograms, reconstruction_cells, speech
from privzoo.audit.report import audit_page, summary, tables
from privzoo.card import IDENTITY_ATTACK
from privzoo.crowd import SPEAKERS
from privzoo.errors import ConfigError, DataError
from privzoo.measurement import Measurement

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
WORDS, ROUNDS = ("yes", "no", "stop"), (1, 2, 7, 8)
PLAN = functools.partial(cells.Plan, seeds=(1,), queries=(1, 10), attackers=("lda",), deep="none")


def archive(speakers: int = SPEAKERS.people) -> dict[str, bytes]:
    """Files of a data set in which each speaker says everything in one voice, with a little noise."""
    rng, voices = np.random.default_rng(0), words(speakers, 1).astype(np.float64)
    files, lines = {}, ["file,class"]
    for who, voice in enumerate(voices, start=1):
        for word in WORDS:
            for number in ROUNDS:
                clip = voice + rng.normal(0, 300, len(voice))
                file = io.BytesIO()
                soundfile.write(file, np.clip(clip, -32_768, 32_767).astype(np.int16), audio.RATE, format="WAV")
                stem = f"dataset/{word}/{who:08d}_NO_{number:02d}"
                files[f"{stem}.wav"] = file.getvalue()
                lines.append(f"{stem}.wav,{word}")
    table = ("\n".join(lines) + "\n").encode()
    return files | {"train.csv": table, "val.csv": b"file,class\n", "test.csv": b"file,class\n"}


@pytest.fixture(scope="module")
def files():
    return archive()


@pytest.fixture(scope="module")
def root(files, tmp_path_factory):
    return write_folder(files, tmp_path_factory.mktemp("data") / "arabic_speech_commands")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with speech_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def audited(zoo, root, cache):
    """Figures of each model's float head, as `audit/<model>.json` has them, and of the yardstick."""
    data, plan, found = speech.SpeechData(root), PLAN(cache), {}
    raw = model_audit.measure(model_audit.yardstick(data, plan), plan, "local", False)
    document = functools.partial(model_audit.document, command="c", quick=False, git="abc", yardstick=data.yardstick)
    found[data.yardstick] = document(None, raw)
    for name in (speech_zoo.SIMPLE, speech_zoo.REDUCED, speech_zoo.CODED):
        model = privzoo.load(name)
        [view] = model_audit.views(model, ["float"], cache)
        figures = model_audit.measure(model_audit.attacks(model, view, data, plan), plan, "local", False)
        found[name] = document(model, model_audit.marked(figures, False))
        measurement.write(name, model_audit.measurements(found[name]))
    return json.loads(json.dumps(found))


def test_rounds_are_apart_and_all_speakers_are_looked_for(root):
    data = own.data_of(speech_zoo.NETWORK, root)
    known, scored = data.people(None)
    assert known.chips.shape == (30 * 3 * 3, audio.SAMPLES) and scored.chips.shape == (30 * 3, audio.SAMPLES)
    assert set(known.labels) == {"identity"} and len({*known.labels["identity"]}) == 30
    assert {*known.labels["identity"]} == {*scored.labels["identity"]} and not {*known.ids} & {*scored.ids}
    assert (known.name, scored.name) == ("arabic_speech, rounds 1 to 7", "arabic_speech, rounds 8 to 10")
    quick = speech.SpeechData(root, quick=True).people(None)
    assert [np.unique(side.labels["identity"], return_counts=True)[1].max() for side in quick] == [9, 3]


def test_there_is_nothing_else_to_learn_from(root, cache):
    data = speech.SpeechData(root)
    assert data.background(None) is None and data.pairs(None) is None and not data.attributes and not data.mirrors
    assert pair_cells.yardstick(data, PLAN(cache)) == [] == pair_cells.recognised(data, PLAN(cache))
    with pytest.raises(ConfigError, match="All 30 speakers .* no others are left to choose settings on") as caught:
        data.choosing(None)
    assert "\n" not in str(caught.value)


def changed(files: dict[str, bytes], **kinds: bool) -> dict[str, bytes]:
    """A data set with one fault."""
    if kinds.get("few"):
        return archive(29)
    if kinds.get("early"):
        return {name: content for name, content in files.items() if not name.endswith("_NO_08.wav")}
    same = files["dataset/no/00000003_NO_01.wav"]
    return files | {"dataset/stop/00000003_NO_08.wav": same}


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"few": True}, "holds recordings of 29 speakers in rounds up to 7 and in later ones, and 30 are wanted"),
        ({"early": True}, "holds recordings of 0 speakers in rounds up to 7 and in later ones"),
        ({}, "1 of 90 scored inputs are also training inputs"),
    ],
)
def test_wrong_data_are_one_sentence(files, tmp_path, kinds, said):
    with pytest.raises(DataError, match=said) as caught:
        speech.speakers(write_folder(changed(files, **kinds), tmp_path))
    assert "\n" not in str(caught.value)


def test_raw_spectrograms_are_what_networks_take_and_statistics_ignore_when_a_word_is_said():
    clips = words(2, 3)
    seen = raw_spectrograms.spectrograms(clips)
    assert seen.shape == (2, *audio.SHAPE) and seen.dtype == np.float32 and seen.min() >= 0 and seen.max() <= 1
    np.testing.assert_allclose(seen[0] * audio.RANGE, audio.spectrogram(clips[0]), rtol=1e-6)
    found = raw_spectrograms.statistics(clips)
    assert found.shape == (2, 3 * 64) and found.dtype == np.float32 and np.isfinite(found).all()
    quiet = np.concatenate([np.zeros(3_200, np.int16), clips[0][:-3_200]])
    later = raw_spectrograms.statistics(quiet[None])
    assert np.abs(later - found[0]).mean() < np.abs(later - found[1]).mean()


def test_the_yardstick_is_attacked_in_all_its_forms(audited):
    figures = audited["raw_spectrograms"]["figures"]
    assert {f["feature"] for f in figures} == {*raw_spectrograms.KINDS, "chance"}
    assert {f["variant"] for f in figures} == {"spectrograms"}
    assert {f["data"] for f in figures} == {"arabic_speech, rounds 8 to 10"}
    assert not model_audit.too_weak(figures)  # these voices are easy
    weak = {**audited["raw_spectrograms"], "figures": model_audit.marked(figures, True)}
    assert any(m.variant.endswith("attackers too weak on raw spectrograms") for m in model_audit.measurements(weak))


def test_a_network_of_its_own_attacks_the_spectrograms(root, cache):
    attacks = model_audit.yardstick(speech.SpeechData(root), PLAN(cache, deep="last"))
    networks = [cell for cell in attacks[0].cells if cell.settings["layers"]]
    assert networks and not any("RandomFlip" in str(cell.settings["layers"]) for cell in networks)
    assert not [cell for attack in attacks[1:] for cell in attack.cells if cell.settings["layers"]]


def test_every_model_is_attacked_among_thirty_speakers(audited):
    for name in (speech_zoo.SIMPLE, speech_zoo.REDUCED, speech_zoo.CODED):
        figures = audited[name]["figures"]
        chance = [f["value"] for f in figures if f["feature"] == "chance" and f["metric"] == "top-1"]
        assert chance == [pytest.approx(1 / 30, abs=1e-6)] and not limits.defects(figures)
        assert {f["data"] for f in figures} == {"arabic_speech, rounds 8 to 10"}
        assert {f["attack"] for f in figures} == ({"identity"} if "coded" in name else {"identity", "rank"})
    simple, coded = audited[speech_zoo.SIMPLE]["figures"], audited[speech_zoo.CODED]["figures"]
    assert {"label", "logit"} <= {f["feature"] for f in simple}
    best = [f for f in simple if f["best"] and f["metric"] == "top-1" and f["feature"] == "features"]
    assert len(best) == 1 and best[0]["value"] > 0.5  # voices that differ much
    assert {f["noise"]["epsilon"] for f in coded if f["noise"]} == {8.0, 1.0, 2.0, 4.0}
    response = privzoo.load(speech_zoo.CODED).noise
    bound = limits.bounds(response).top1(30)
    once = next(f for f in coded if f["noise"] and f["noise"]["epsilon"] == 8.0 and f["metric"] == "top-1")
    assert once["bound"] == pytest.approx(bound, abs=1e-6) and bound > limits.bounds(response).top1(100)


def test_the_card_says_thirty_speakers(audited):
    for name in (speech_zoo.SIMPLE, speech_zoo.CODED):
        card = privzoo.show(name)
        assert card.among() == SPEAKERS
        assert "| measured top-1 of 30 speakers |" in str(card) and "top-1 of 30 speakers | true" in str(card)
        assert "100 people" not in str(card) and "photograph" not in str(card)
    assert "% of 30 equally likely speakers" in privzoo.show(speech_zoo.CODED).budget()
    simple = privzoo.show(speech_zoo.SIMPLE)
    assert simple.identified() == f"{simple.identity_attack().value:.1%}"


def test_a_code_that_no_bound_protects_shows_the_attack(audited):
    card = privzoo.show(speech_zoo.CODED)
    assert card.identified().startswith("at most ") and card.bound() < 1
    many = dataclasses.replace(card.model, code=dataclasses.replace(card.model.code, symbols=40))
    found = dataclasses.replace(card, model=many)
    assert found.bound() == 1 and found.identified() == f"{found.identity_attack().value:.1%}"
    assert found.budget() == (
        "epsilon 8 at delta 0, which does not bound how many of 30 equally likely speakers an attacker identifies"
    )


def test_people_are_counted_by_what_guessing_got(audited):
    card = privzoo.show(speech_zoo.SIMPLE)
    guess = Measurement(IDENTITY_ATTACK, "float head, chance", "mine", 0.2, 0.2, 0.2, 9, (), "d", "g", "c", "")
    assert str(dataclasses.replace(card, measurements=(guess,)).among()) == "5 speakers"
    assert dataclasses.replace(card, measurements=()).among() == SPEAKERS


def test_the_list_says_among_whom(audited, capsys):
    from privzoo import cli

    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "the strongest attack measured, among 30 speakers; chance is 3.3%." in printed
    assert "100 people" not in printed and "For codes: the bound" in printed


def test_tables_and_the_page_say_whose_speech_it_is(audited, tmp_path):
    folder = tmp_path / "audit"
    folder.mkdir()
    for name, document in audited.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    page = tmp_path / "RESULTS.md"
    page.write_text("# Results\n")
    out = audit_page.write(folder, tmp_path / "report", results=page, cards=card_of)
    text, html = page.read_text(), out.read_text()
    assert "From raw spectrograms they identify " in text and "% of the speakers." in text
    assert f"the cloud identifies {summary_of(audited).identified.value:.1%} of 30 speakers, from" in text
    assert "guessing 3.3%" in text.lower() and "Who of 30 speakers is identified from a code" in text
    assert "learn from other recordings of the same people" in text and "100 people" not in text
    assert f"| {speech_zoo.SIMPLE} |" not in text  # a long table of one figure each is left to the csv
    csv = (tmp_path / "docs" / "results" / "identity.csv").read_text()
    assert f"{speech_zoo.SIMPLE},keyword,identified,share" in csv and "raw_spectrograms,,identified,share" in csv
    assert "30 known speakers" in html and "From raw spectrograms the same attackers" in html
    rows = [summary.row(audited[name], privzoo.show(name)) for name in (speech_zoo.SIMPLE, speech_zoo.CODED)]
    assert {row.source for row in rows} == {"recording"}
    assert "3.3%" in tables.terminal(audited[speech_zoo.SIMPLE])


def card_of(name: str):
    return None if name in summary.YARDSTICKS else privzoo.show(name)


def summary_of(audited):
    return summary.row(audited[speech_zoo.SIMPLE], privzoo.show(speech_zoo.SIMPLE))


def test_there_is_nothing_to_look_at(zoo, root, cache, tmp_path):
    data = speech.SpeechData(root)
    assert reconstruction_cells.measure(privzoo.load(speech_zoo.SIMPLE), data, PLAN(cache), tmp_path) == []


@pytest.mark.timeout(1800)  # some seconds on a free machine
def test_the_tool_audits_speakers_beside_nothing_else(zoo, root, tmp_path):
    """In a process of its own, as flags are one for each process."""
    code = f"""
import sys
from pathlib import Path
from privzoo import config
config.config_folder = lambda: Path({str(config.config_folder())!r})
sys.argv = ["audit", "--data_dir={root}", "--cache_dir={tmp_path}", "--quick", "--nowrite", "--engine=local",
            "--model=*_reduced_*"]
import runpy
runpy.run_path({str(ROOT / "tools" / "audit.py")!r}, run_name="__main__")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "raw_spectrograms" in done.stdout and "there are no pairs and no pictures of speech" in done.stdout
    names = sorted(path.stem for path in (tmp_path / "audit_quick").glob("*.json"))
    assert names == ["raw_spectrograms", speech_zoo.REDUCED]
    written = json.loads((tmp_path / "audit_quick" / f"{speech_zoo.REDUCED}.json").read_text(encoding="utf-8"))
    assert written["yardstick"] == "raw_spectrograms" and {f["attack"] for f in written["figures"]} == {
        "identity",
        "rank",
    }
