"""What cards say of codes at each budget: accuracy, the ceiling, and the model's share of it."""

from __future__ import annotations

import json

import pytest

import privzoo
from privzoo import card_files, config
from privzoo.errors import ConfigError

CODED = [name for name in privzoo.list_models() if config.model(name).code]


@pytest.mark.parametrize("name", CODED)
def test_every_codes_card_has_the_ceiling_and_its_share(name):
    card = privzoo.show(name)
    kept = json.loads(card_files.path("codes", name).read_text("utf-8"))
    assert card.at_budgets["figures"] == kept["figures"]
    assert card.epsilon() in {row["epsilon"] for row in kept["figures"]}
    text = str(card)
    assert ("clips, seeds" in text) == (card.network.input == config.SPEECH)
    assert "The ceiling is the best that any mechanism of that epsilon can reach" in text
    for row in kept["figures"]:
        assert row["symbols"] == card.model.code.symbols
        assert row["share_low"] <= row["share_of_ceiling"] <= row["share_high"]
        assert row["share_of_ceiling"] == pytest.approx(row["accuracy"] / row["ceiling"])
        shown = [100 * row[key] for key in ("accuracy", "low", "high", "ceiling", "share_of_ceiling")]
        accuracy, low, high, ceiling, share = (f"{value:.2f}" for value in shown)
        assert f"| {row['epsilon']:g} | {accuracy} | {low} to {high} | {ceiling} | {share} |" in text
    entry = json.loads(json.dumps(card.to_dict(), allow_nan=False))["at_budgets"]
    assert entry["figures"] == kept["figures"] and "device" not in entry


def test_the_accuracy_at_a_models_own_budget_is_that_of_its_card():
    for name in CODED:
        card = privzoo.show(name)
        (row,) = [row for row in card.at_budgets["figures"] if row["epsilon"] == card.epsilon()]
        told = card.figure("accuracy", "int8 TFLite head + tail")
        # Both are of the same head on the same faces; they differ in how many draws they are means of.
        assert row["accuracy"] == pytest.approx(told.value, abs=0.006) and told.count == row["faces"]
        assert row["people"] == told.clusters


def test_cards_without_a_code_say_nothing_of_it():
    card = privzoo.show("vgg16_gender_simple_conv5_3")
    assert card.at_budgets is None and "ceiling" not in str(card) and card.to_dict()["at_budgets"] is None


def test_a_damaged_or_earlier_file_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "config_folder", lambda: tmp_path)
    (tmp_path / "codes").mkdir()
    path, facts = tmp_path / "codes" / "one.json", ("data", "date", "git", "command", "network_accuracy")
    assert card_files.read_budgets("one") is None
    earlier = {**dict.fromkeys(facts, ""), "figures": [{"epsilon": 1.0, "accuracy": 0.9}]}
    bad = [{**earlier, "figures": figures} for figures in (3, [], [3], earlier["figures"])]
    for text in ("{", "[]", "{}", *map(json.dumps, bad)):
        path.write_text(text)
        with pytest.raises(
            ConfigError, match=r"one.json cannot be read .*; delete it and measure again with tools/codes"
        ):
            card_files.read_budgets("one")
