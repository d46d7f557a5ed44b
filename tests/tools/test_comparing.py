"""The comparison of all models: rows from cards, the frontier, sentences, the plot, and the command on real cards."""

from __future__ import annotations

import csv
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_zoo
from benchmarking import wire
from comparing import frontier, plot, report
from comparing import rows as comparing
from comparing.rows import Row
from hypothesis import given
from hypothesis import strategies as st

import privzoo
from privzoo import architectures, card, config, costs, markdown
from privzoo.audit import mixtures
from privzoo.card import IDENTITY_ATTACK, Card
from privzoo.config import CodeConfig, MixingConfig
from privzoo.crowd import SPEAKERS
from privzoo.evaluation import intervals
from privzoo.evaluation.variants import FLOAT, INT8, NETWORK
from privzoo.measurement import Measurement

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = "lfw100-test"
BROKEN = "unmixed, identity, lda"


def measured(metric: str, variant: str, value: float, data: str = "lfw", **changed) -> Measurement:
    ends = {"low": value - 0.01, "high": value + 0.02, "count": 100, "seeds": (1,), "date": "2026-01-02", "git": "abc"}
    return Measurement(metric, variant, data, value, **{**ends, **changed}, command="tools/x.py", sha256="")


def attack(value: float, variant: str = "float head, feature", **changed) -> Measurement:
    return measured(IDENTITY_ATTACK, variant, value, PEOPLE, **changed)


def card_of(embedding: str, *measurements: Measurement, network=None, **changed) -> Card:
    model = tiny_zoo.model(embedding, **changed)
    network = network or (tiny_zoo.MIXED if embedding == "datamix" else tiny_zoo.PARENT)
    figures = (measured("accuracy", FLOAT, 0.9), measured("accuracy", NETWORK, 0.95), *measurements)
    return Card(model, network, costs.cost(model, network), figures, None)


def row(name: str, share: float, leak: float | None = None, bound: float = 1.0, **changed) -> Row:
    """A row of a network of 1,000 multiply-adds."""
    known = {
        **{"task": "gender", "network": "n", "embedding": "simple", "cut": "conv5", "slim": False, "coded": False},
        **{"mixing": None, "device": round(1000 * share), "whole": 1000, "sent": 16, "received": 8, "epsilon": None},
        **{"accuracy": measured("accuracy", FLOAT, 0.9), "attack": None if leak is None else attack(leak)},
    }
    return Row(**{**known, "name": name, "bound": bound, **changed})


def names(rows) -> list[str]:
    return [one.name for one in rows]


def test_a_row_is_what_the_card_says():
    sent = f"float head, feature, epsilon {round(card_of('noisy_reduced_simple').epsilon(), 3):g}"
    own = card_of(
        "noisy_reduced_simple",
        attack(0.03, f"{sent}, 1 query"),
        attack(0.5, f"{sent}, 100 queries"),
        attack(0.9, "float head, feature, epsilon 99, 1 query"),
    )
    raw, found = comparing.make([own])
    layers = architectures.costs("vgg_s", tiny_zoo.SIZE, 2)
    assert found.whole == raw.whole == sum(layer.multiply_adds for layer in layers)
    assert found.device == own.cost.head_multiply_adds and found.share == found.device / found.whole
    assert (found.sent, found.received) == (12, 8) and found.seconds == wire.seconds(12, 8)
    assert found.bound == own.bounds()[0].top1()
    assert (found.accuracy.value, found.attack.value) == (0.9, 0.03)  # one query, as it is sent
    [_, line] = comparing.flat([raw, found])
    assert line["equation_1_seconds"] == wire.seconds(12, 8) and line["bytes_sent_per_input"] == 12
    assert (line["identified_share"], line["identified_date"], line["identified_revision"]) == (
        0.03,
        "2026-01-02",
        "abc",
    )
    assert (line["accuracy_of"], line["accuracy_independent"]) == (FLOAT, None)


def test_a_code_is_attacked_at_its_own_budget_and_is_bounded():
    code = CodeConfig(base=None, epsilon=3.0, symbols=2)
    sent = "float head, feature, epsilon 3, 1 query"
    own = card_of("label", attack(0.019, sent), attack(0.5, sent.replace("3", "8")), code=code)
    _, found = comparing.make([own])
    assert found.share == 1 and found.sent == 1 and found.coded and not found.slim
    assert found.attack.value == 0.019 and found.bound == pytest.approx(0.02 / (1 + math.exp(-3)))
    unfitted = card_of("label", code=CodeConfig(base=None, epsilon=3.0))
    assert comparing.make([unfitted])[1].bound == 1


def test_a_network_without_a_device_sends_its_input():
    raw, _ = comparing.make([card_of("simple", attack(0.6))], {"face": attack(0.88, "pixels, both")})
    assert raw.raw and (raw.device, raw.sent, raw.received) == (0, 3 * tiny_zoo.SIZE**2, 8)
    assert (raw.accuracy.value, raw.attack.value, raw.bound) == (0.95, 0.88, 1)
    [line] = comparing.flat([raw])
    assert line["bound_on_identified_share"] == "no bound" and line["device_share_of_network"] == 0
    # Photographs of other people say nothing about models that were attacked on these.
    assert comparing.make([card_of("simple", attack(0.6, count=1))], {"face": attack(0.8, "pixels")})[0].attack
    other = dataclasses.replace(attack(0.8), data="other people")
    assert comparing.make([card_of("simple", attack(0.6))], {"face": other})[0].attack is None
    # A fine-tuned network takes its parent's input.
    child = comparing.make([card_of("simple", network=tiny_zoo.CHILD)])
    assert [one.raw for one in child] == [False]


def test_sound_has_two_bytes_a_sample():
    [name] = [one for one in privzoo.list_models("*_simple_block4") if "reduced" not in one]
    assert comparing.make([privzoo.show(name)])[0].sent == 32_000


def test_speakers_are_thirty_in_the_attack_the_bound_and_the_words():
    coded = privzoo.show("resnet18_keyword_coded_block4")
    rounds = {"data": "arabic_speech, rounds 8 to 10"}
    seen = measured(IDENTITY_ATTACK, "float head, feature, epsilon 8, 1 query", 0.04, **rounds)
    sound = measured(IDENTITY_ATTACK, "spectrograms, both", 0.95, **rounds)
    own = dataclasses.replace(coded, measurements=(seen,))
    raw, found = rows = comparing.make([own], {"speech": sound, "face": attack(0.88)})
    assert found.among == raw.among == SPEAKERS and found.attack.value == 0.04 and raw.attack.value == 0.95
    # Of 100 people the code would bound something, of 30 it does not.
    assert found.bound == 1 and coded.bounds()[0].top1(100) < 1
    assert "From raw sound, with all work in the cloud, 95.0% (94.0% to 97.0%) of 30 speakers are identified." in (
        report.text(rows, "", "all")
    )
    assert {line["among"] for line in comparing.flat(rows)} == {"30 speakers"}
    unseen = dataclasses.replace(own, measurements=())
    assert comparing.make([unseen], {"speech": sound})[0].attack is None


@pytest.mark.parametrize(
    "group, blocks, seen",
    [(mixtures.SIZE, 1, BROKEN), (2, 1, BROKEN), (mixtures.SIZE, 2, "float head, feature"), (16, 1, "float head")],
)
def test_of_mixtures_the_attack_that_unmixes_counts(group, blocks, seen):
    network = dataclasses.replace(tiny_zoo.MIXED, mixing=MixingConfig(blocks=1, group=group))
    figures = {"unmixed": 0.8, "unmixed_low": 0.7, "unmixed_high": 0.9, "photographs": 816, "seed": 1}
    people = [{"blocks": blocks, "judge": judge, **figures} for judge in ("identity, lda", "gender, vgg16_gender")]
    kept = {"people": people, "date": "2026-01-03", "git": "def", "command": "tools/unmixing.py"}
    own = card_of("datamix", attack(0.02), network=network)
    [found] = comparing.make([own], None, kept)
    assert found.attack.variant.startswith(seen) and found.attack.value == (0.8 if seen == BROKEN else 0.02)
    assert found.mixing.group == group and found.bound == 1
    # The device has the last layer, and receives what it takes.
    last = architectures.costs("vgg_s", tiny_zoo.SIZE, 2)[-1]
    assert found.received == 4 * (last.parameters - 2) // 2
    [line] = comparing.flat([found])
    assert line["inputs_in_a_mixture"] == group and line["bytes_sent_per_input"] == own.cost.feature_bytes


def test_the_frontier_is_the_least_at_each_share():
    rows = [
        row("dear", 1.0, 0.02, 0.02),
        row("slim", 0.12, 0.2, 0.47),
        row("leaky", 0.12, 0.9),
        row("early", 0.012, 0.5),
        row("raw pixels of n", 0.0, 0.01, embedding="raw pixels"),
    ]
    found = list(frontier.frontier(rows))
    assert [one.levels for one in found] == [(0.01,), (0.02, 0.05), (0.12,), (1.0,)]
    assert found[0].fitting == found[0].by_attack == found[0].by_proof == ()
    assert [names(one.by_attack) for one in found[1:]] == [["early"], ["slim"], ["dear"]]
    assert [names(one.by_proof) for one in found[1:]] == [[], ["slim"], ["dear"]]
    assert found[-1].alike == ()


def test_at_the_whole_network_every_head_fits():
    """A reduction comes on top of the network's own layers."""
    above = row("reduced", 1.003, 0.02)
    assert names(frontier.best([above], 1.0).by_attack) == ["reduced"]
    assert frontier.best([above], 0.999).fitting == ()


def test_ties_are_all_named_the_most_accurate_first():
    better = measured("accuracy", INT8, 0.95)
    rows = [row("a", 1, 0.02, 0.02), row("b", 1, 0.02, 0.02 + 1e-9, accuracy=better), row("c", 1, 0.02, accuracy=None)]
    found = frontier.best(rows, 1.0)
    assert names(found.by_attack) == ["b", "a", "c"] and names(found.by_proof) == ["b", "a"]
    text = report.text(rows, "", "all")
    # A bound is rounded up.
    line = (
        "| gender, 100% | b; a; 1 more that leaks as much | 2.0 (1.0 to 4.0) | 95.0; 90.0 | b; a | 2.01 | 95.0; 90.0 |"
    )
    assert line in text


def test_what_intervals_do_not_separate_is_counted():
    rows = [row("a", 1, 0.02), row("b", 1, 0.03), row("c", 1, 0.5)]
    assert names(frontier.best(rows, 1.0).alike) == ["b"]
    assert "a; 1 not shown to leak more" in report.text(rows, "", "all")


def test_what_was_not_attacked_is_left_out_and_said():
    rows = [row("a", 0.1, None, 0.02), row("b", 1, 0.5), row("c", 1, None, task="keyword")]
    first, last, *_ = [one for one in frontier.frontier(rows[:2]) if one.fitting]
    assert first.by_attack == () and names(first.by_proof) == names(last.by_proof) == ["a"]
    assert names(last.by_attack) == ["b"]
    text = report.text(rows, "", "all")
    assert "not in that column: 1 of 2 gender models, 1 of 1 keyword models." in text
    assert "| gender, 12% | not measured |  |  | a | 2 | 90.0 |" in text
    assert "| gender, 1 to 5% | no model fits |  |  | no model fits |  |  |" in text
    assert "| keyword, 100% | not measured |  |  | no bound |  |  |" in text


@given(st.lists(st.tuples(st.floats(0, 1.2), st.none() | st.floats(0, 1), st.floats(0.001, 1)), max_size=12))
def test_more_work_never_leaks_more(drawn):
    rows = [row(str(i), share, leak, bound) for i, (share, leak, bound) in enumerate(drawn)]
    found = list(frontier.frontier(rows))
    assert [level for one in found for level in one.levels] == list(frontier.LEVELS)
    for one, more in zip(found, found[1:], strict=False):
        assert len(one.fitting) <= len(more.fitting)
        if one.by_attack:
            assert more.by_attack[0].attack.value <= one.by_attack[0].attack.value + 1e-6
        if one.by_proof:
            assert more.by_proof[0].bound <= one.by_proof[0].bound + 1e-6


MIXED = {"embedding": "datamix", "mixing": MixingConfig(blocks=1)}


def test_a_cheap_head_stands_beside_coded_and_slim_ones():
    one = row("mixed", 0.006, 0.8, **MIXED)
    dear = row("coded", 1, 0.02, 0.0191, coded=True)
    assert list(report.against([dear])) == ["DataMix's first block has no card yet."]
    assert list(report.against([one])) == [
        "mixed (0.6% of the work, 0.05 s to send an input in groups of 8) gives away 80.0% (79.0% to 82.0%) of 100 "
        "people (no bound) and is right for 90.0%; there is no coded or slim gender head."
    ]
    [told] = report.against([one, dear])
    assert "no coded or slim head fits 1%: the cheapest, coded, takes 167 times the work" in told
    assert "gives away 2.0% (1.0% to 4.0%) of 100 people (at most 1.91% by proof)" in told
    assert told.endswith("The first leaks more.")
    near = row("slim", 0.009, 0.79, slim=True)
    [told] = report.against([one, dear, near])
    assert "of the coded and slim heads that fit 1%, slim gives away 79.0%" in told
    assert told.endswith("Which leaks more is not shown.")
    [told] = report.against([dataclasses.replace(one, attack=attack(0.01)), dear, near])
    assert told.endswith("The first leaks less.")
    [told] = report.against([dataclasses.replace(one, attack=None, accuracy=None), near])
    assert "mixed" in told and "was not attacked yet (no bound) and its accuracy was not measured" in told
    # Any other embedding that is as cheap is compared too; of DataMix's, the cheapest.
    veiled = row("veiled", 0.05, 0.3, embedding="obfuscated")
    second = row("second", 0.1, 0.7, embedding="datamix", mixing=MixingConfig(blocks=2))
    first, other = report.against([second, one, veiled, dear])
    assert first.startswith("mixed (") and other.startswith("veiled (5.0% of the work, ")


def test_intervals_of_an_earlier_rule_are_told():
    assert "too narrow" in report.text([row("a", 1, 0.1)], "", "all")
    known = measured("accuracy", FLOAT, 0.9, clusters=50, method="Wilson over clusters")
    text = report.text([row("a", 1, 0.1, accuracy=known)], "", "all")
    assert intervals.UNKNOWN[1:] not in text


def test_the_plot_shows_attacks_and_bounds_and_is_the_same_each_time():
    rows = [
        row("a", 0.01, 0.5, task="gender", sent=70_000),
        row("b", 1, 0.02, 0.03, slim=True),
        row("c", 1.01, None, 0.4, embedding="a new one"),
        row("d", 1, task="keyword"),
        row("raw pixels of n", 0.0, 0.9, embedding="raw pixels"),
    ]
    picture = plot.draw(rows)
    assert picture.startswith(b"\x89PNG") and plot.draw(rows) == picture
    assert plot.draw(rows[:2]) != picture and plot.draw(rows[3:4]).startswith(b"\x89PNG")


def test_neighbours_are_drawn_apart_and_others_where_they_are():
    rows = [row("a", 0.1, 0.5), row("b", 0.94, 0.5), row("c", 1, 0.5, slim=True), row("d", 1, 0.4)]
    places = plot._places(rows)
    assert places["a"] == 100 and places["b"] < 940 and places["c"] > 1000 and places["d"] < 1000


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the command writes from the stored figures, without data."""
    page = tmp_path_factory.mktemp("results") / "RESULTS.md"
    page.write_text((ROOT / "RESULTS.md").read_text("utf-8"), "utf-8")
    command = [sys.executable, "tools/compare.py", f"--results={page}", f"--docs_dir={ROOT / 'docs'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return page, done.stdout


def test_the_command_writes_what_the_repository_has(written):
    page, printed = written
    text = page.read_text("utf-8")
    assert text == (ROOT / "RESULTS.md").read_text("utf-8"), "run tools/compare.py"
    assert printed.strip() in text and "## The comparison" in printed
    target = markdown.tables_folder(page) / "comparison.csv"
    assert target.read_text("utf-8") == (ROOT / "docs/results/comparison.csv").read_text("utf-8"), (
        "run tools/compare.py"
    )
    assert (target.parent / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_every_model_and_head_has_a_row_with_its_cards_figures(written):
    with (markdown.tables_folder(written[0]) / "comparison.csv").open() as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    cards = [card.read(name, head) for name in privzoo.list_models() for head in costs.heads(config.model(name))]
    raw = {name for name in lines if name.startswith("raw ")}
    assert set(lines) == raw | {one.artefact for one in cards}
    assert len(raw) == len({one.network.parent or one.network.name for one in cards})
    for one in cards:
        line = lines[one.artefact]
        assert int(line["device_multiply_adds"]) == one.cost.head_multiply_adds
        assert int(line["bytes_sent_per_input"]) == one.cost.feature_bytes
        attacked = one.attack_of(1)
        assert (line["identified_share"] == "") == (attacked is None)
        if attacked and not one.network.mixing:
            assert float(line["identified_share"]) == attacked.value and line["identified_date"] == attacked.date
        bound = one.bound()
        assert line["bound_on_identified_share"] == (str(bound) if bound < 1 else "no bound")
    # Of the same network, what is slim costs less, and the whole network on the device costs all of it.
    assert all(line["device_share_of_network"] == "1.0" for line in lines.values() if line["embedding"] == "label")
