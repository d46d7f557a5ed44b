"""One row for each model and head: work on the device, bytes, seconds, accuracy, and what an attacker gets.

Everything comes from the models' configs and cards, and from what tools/audit.py and tools/unmixing.py keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarking import wire

from privzoo import architectures
from privzoo.architectures.layers import LayerCost
from privzoo.card import IDENTITY_ATTACK, Card
from privzoo.config import DATAMIX, FACE, FULL, SLIM, SPEECH, MixingConfig, NetworkConfig
from privzoo.costs import BYTES_OF_FLOAT32
from privzoo.crowd import FACES, Crowd
from privzoo.evaluation import intervals
from privzoo.evaluation.variants import NETWORK
from privzoo.measurement import Measurement
from privzoo.mechanisms.bounds import NONE

RAW = {FACE: "raw pixels", SPEECH: "raw sound"}  # what is sent where all of the work is the cloud's
BYTES_OF_SAMPLE = 2  # of sound
UNMIXING = Path("mechanisms") / "unmixing.json"  # of tools/unmixing.py, in the folder of docs


@dataclass(frozen=True)
class Row:
    """A model with one of its heads, or the raw input of a network."""

    name: str  # of the head's files, or "raw pixels of <network>"
    task: str
    network: str
    embedding: str  # one of `RAW` where all of the work is the cloud's
    cut: str
    slim: bool
    coded: bool
    mixing: MixingConfig | None  # of a model that sends mixtures
    device: int  # multiply-adds per input
    whole: int  # multiply-adds of the uncut network
    sent: int  # bytes per input; of mixtures, where all inputs of a group are asked about
    received: int  # bytes per input
    epsilon: float | None  # of one answer
    accuracy: Measurement | None
    attack: Measurement | None  # the strongest on identity, from one query at the budget that is sent
    bound: float  # on the same, of any attacker who sees one answer; 1: no bound
    among: Crowd = FACES  # of whom one is identified, in the attack and by the bound

    @property
    def share(self) -> float:
        """Of the uncut network's multiply-adds. A reduction comes on top, so that it may be a little above 1."""
        return self.device / self.whole

    @property
    def raw(self) -> bool:
        """Whether the input is sent as it is."""
        return self.embedding in RAW.values()

    @property
    def seconds(self) -> float:
        """Time on the wire by DataMix's equation 1."""
        return wire.seconds(self.sent, self.received)


def read(docs: Path) -> list[Row]:
    """Rows of all models of the zoo, and of their networks' raw inputs; not of networks trained on the user's own data.

    Args:
        docs: folder with what tools/audit.py and tools/unmixing.py keep.
    """
    import privzoo
    from privzoo import card, config, costs
    from privzoo.audit.report import families

    names = [name for name in privzoo.list_models() if not families.family_of(name)]
    cards = [card.read(name, head) for name in names for head in costs.heads(config.model(name))]
    kept = docs / UNMIXING
    return make(cards, raw_inputs(docs / "audit"), json.loads(kept.read_text("utf-8")) if kept.exists() else None)


def make(
    cards: Sequence[Card],
    raw: Mapping[str, Measurement] | None = None,
    unmixing: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Rows of models, after those of their networks' raw inputs.

    Args:
        cards: of each model with each of its heads.
        raw: kind of input -> the strongest attack on it as it is.
        unmixing: what tools/unmixing.py keeps; None: nothing.
    """
    rows = [_row(card, unmixing) for card in cards]
    # Networks that were fine-tuned for the same task take the same input as their parents.
    tasks = {card.network.name: card.network.task for card in cards}
    networks = {
        card.network.name: card
        for card in cards
        if card.network.parent is None or tasks.get(card.network.parent, card.network.task) != card.network.task
    }
    return [*(_raw(card, (raw or {}).get(card.network.input), rows) for card in networks.values()), *rows]


def raw_inputs(audit: Path) -> dict[str, Measurement]:
    """The strongest attack on photographs and recordings themselves, of those that were audited."""
    from privzoo.audit import model_audit
    from privzoo.audit.report import summary

    kept = [path for path in summary.RAW.values() if (audit / f"{path}.json").exists()]
    results = {result["model"]: result for result in summary.read(audit)} if kept else {}
    found = {}
    for given, name in summary.RAW.items():
        figures = model_audit.measurements(results[name]) if name in results else ()
        if best := intervals.highest(m for m in figures if m.metric == IDENTITY_ATTACK):
            found[given] = best
    return found


def by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by task, the task with most models first."""
    names = list(dict.fromkeys(row.task for row in rows))
    found = {name: [row for row in rows if row.task == name] for name in names}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[1])))


def _row(card: Card, unmixing: Mapping[str, Any] | None) -> Row:
    network, model = card.network, card.model
    mixing = network.mixing if model.embedding == DATAMIX else None
    return Row(
        name=card.artefact,
        task=network.task,
        network=network.name,
        embedding=model.embedding,
        cut=model.cut,
        slim=card.head == SLIM,
        coded=model.code is not None,
        mixing=mixing,
        device=card.cost.head_multiply_adds,
        whole=_whole(network),
        sent=card.cost.feature_bytes,
        received=BYTES_OF_FLOAT32 * (_hidden(network) if mixing else len(network.classes)),
        epsilon=card.epsilon(),
        accuracy=card.told()[0],
        # What one mixture gives away is not the most that a request does: there are attacks that unmix.
        attack=intervals.highest([card.attack_of(1), *_unmixed(network, mixing, unmixing)]),
        bound=card.bound(),
        among=card.among(),
    )


def _raw(card: Card, attack: Measurement | None, rows: Sequence[Row]) -> Row:
    """The row of a network whose input is sent as it is.

    Args:
        card: of one of its models.
        attack: on such inputs. It counts if the task's models were attacked on the same people.
        rows: of all models.
    """
    network = card.network
    people = {row.attack.data for row in rows if row.task == network.task and row.attack}
    return Row(
        name=f"{RAW[network.input]} of {network.name}",
        task=network.task,
        network=network.name,
        embedding=RAW[network.input],
        cut="",
        slim=False,
        coded=False,
        mixing=None,
        device=0,
        whole=_whole(network),
        sent=_input_bytes(network),
        received=BYTES_OF_FLOAT32 * len(network.classes),
        epsilon=None,
        accuracy=card.figure("accuracy", NETWORK),
        attack=attack if attack and attack.data in people else None,
        bound=1.0,
        among=card.among(),
    )


def _layers(network: NetworkConfig) -> list[LayerCost]:
    return architectures.costs(network.architecture, network.input_shape, len(network.classes), network.classifier)


def _whole(network: NetworkConfig) -> int:
    return sum(layer.multiply_adds for layer in _layers(network))


def _hidden(network: NetworkConfig) -> int:
    """Numbers that the last layer takes, which a device that has that layer receives."""
    return _layers(network)[-1].multiply_adds // len(network.classes)


def _input_bytes(network: NetworkConfig) -> int:
    from privzoo import audio

    if network.input == SPEECH:
        return audio.SAMPLES * BYTES_OF_SAMPLE
    height, width, channels = network.input_shape
    return height * width * channels  # one byte each


def _unmixed(
    network: NetworkConfig, mixing: MixingConfig | None, kept: Mapping[str, Any] | None
) -> Iterator[Measurement]:
    """Attacks on identity after unmixing as many blocks, from groups of at least this model's size.

    Smaller groups come apart more easily (tools/unmixing.py measures it), so that larger ones do not flatter them.
    """
    from privzoo.audit import mixtures
    from privzoo.mechanisms.mixing import KINDS

    if mixing is None or kept is None or network.input != FACE:
        return
    if mixing.group > mixtures.SIZE or mixing.coefficients != KINDS[0]:
        return
    for row in kept["people"]:
        if row["blocks"] == mixing.blocks and row["judge"].startswith("identity"):
            yield Measurement(
                metric=IDENTITY_ATTACK,
                variant=f"unmixed, {row['judge']}",
                data="lfw100-test",
                value=row["unmixed"],
                low=row["unmixed_low"],
                high=row["unmixed_high"],
                count=row["photographs"],
                seeds=(row["seed"],),
                **{key: kept[key] for key in ("date", "git", "command")},
                sha256="",
            )


def flat(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Rows of a csv; what has no bound says so, and what was not measured is empty."""
    for row in rows:
        yield {
            "model": row.name,
            "task": row.task,
            "network": row.network,
            "embedding": row.embedding,
            "cut": row.cut,
            "head": "" if row.raw else SLIM if row.slim else FULL,
            "device_multiply_adds": row.device,
            "network_multiply_adds": row.whole,
            "device_share_of_network": row.share,
            "bytes_sent_per_input": row.sent,
            "bytes_received_per_input": row.received,
            "inputs_in_a_mixture": row.mixing.group if row.mixing else None,
            "equation_1_seconds": row.seconds,
            "epsilon_of_one_answer": row.epsilon,
            **_figure("accuracy", row.accuracy),
            **_figure("identified", row.attack),
            "among": str(row.among),
            "bound_on_identified_share": row.bound if row.bound < 1 else NONE,
        }


def _figure(name: str, m: Measurement | None) -> dict[str, Any]:
    """Columns of one figure, with those that tell of older rules: method, date and revision."""
    found = {
        "share": m and m.value,
        "low": m and m.low,
        "high": m and m.high,
        "of": m and m.variant,
        "data": m and m.data,
        "interval": m and m.method,
        "inputs": m and m.count,
        "independent": m and (m.clusters or None),
        "seeds": m and m.seeds,
        "date": m and m.date,
        "revision": m and m.git,
    }
    return {f"{name}_{key}": value for key, value in found.items()}
