"""What the audit's results say: one row for each model, and the answers to the questions that a reader asks.

Everything here is computed from `audit/<model>.json` (format: `privzoo.audit.runner`) and the models' cards.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from privzoo.card import Card
from privzoo.config import FACE, SPEECH
from privzoo.crowd import FACES, SPEAKERS, Crowd
from privzoo.errors import DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.classes import BALANCED
from privzoo.evaluation.intervals import Estimate
from privzoo.evaluation.variants import FLOAT as FLOAT_ACCURACY
from privzoo.measurement import Measurement

FORMAT = 1
RAW = {FACE: "raw_pixels", SPEECH: "raw_spectrograms"}  # kind of input -> name of its yardstick
FLOAT, INT8 = "float head", "int8 TFLite head"
YARDSTICKS = {RAW[FACE]: "pixels", RAW[SPEECH]: "spectrograms"}  # name -> what its figures are on, in all forms
RAW_FEATURES = ("pixels", "gradients", "spectrograms", "statistics", "both")
FLOORS = ("label", "logit", "chance")
RANKS = ("equation 4", "other photographs", "per sample")
EQUAL = 0.02  # loss of accuracy, with its interval, up to which two models count as equally accurate
FIELDS = {"attack", "metric", "variant", "feature", "noise", "queries", "attacker", "best", "value", "low", "high"}


@dataclass(frozen=True)
class Value(Estimate):
    """A figure of the audit: an estimate, and which attacker got it."""

    source: str = ""  # such as "lda"
    weak: bool = False  # of an attacker too weak on raw inputs
    optimism: float | None = None  # selection bias of the best attacker, if all were equally good
    by_person: np.ndarray | None = field(default=None, compare=False, repr=False)  # shares of hits (seeds, people)
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # what the figure says of itself

    def minus(self, other: Value) -> Value:
        """Difference: by person where hits of the same people were kept, else as if the two were independent."""
        a, b = self.by_person, other.by_person
        if a is None or b is None or a.shape != b.shape or self.origin["data"] != other.origin["data"]:
            found = intervals.apart(self, other)
        else:
            found = intervals.difference(a, b)
        return Value(**dataclasses.asdict(found), weak=self.weak or other.weak)


@dataclass(frozen=True)
class Row:
    """What a model reveals, how accurate it is, and what it costs."""

    model: str
    task: str
    embedding: str
    cut: str
    accuracy: Value | None  # of float head and tail
    balanced: Value | None  # mean over classes of the share that is right
    one_answer: Value | None  # accuracy of always answering the most frequent class; the source says which
    identity: Value | None  # best attacker's top-1, with the model's own noise
    identity_int8: Value | None  # the same on the deployed head
    top5: Value | None  # right person in the top five, best attacker
    averaged: Value | None  # the same as `identity`, by averaging over most queries of one image; None without noise
    averaged_int8: Value | None  # the same on the deployed head
    queries: int  # these
    queried: Mapping[int, Value]  # number of queries -> the same, of all numbers above 1
    floors: Mapping[str, Value]  # "label", "logit", "chance": what the primary answer alone gives
    rank: Value | None  # rank privacy, equations 2 to 4
    rank_other: Value | None  # the same for photographs other than those that the cloud knows
    rank_sample: Value | None  # the authors' variant, sample by sample
    recognised: Value | None  # reconstructions that a recogniser takes for the right person
    likeness: Mapping[str, Value]  # "PSNR" in dB, "SSIM": of the same decoder
    attributes: Mapping[str, Value]  # "race", "gender": balanced accuracy; "age": error in years
    head_share: float | None  # of the multiply-adds, 0..1
    feature_bytes: int | None
    result: Mapping[str, Any]  # the file
    among: Crowd = FACES  # those whom attackers looked for one of

    @property
    def source(self) -> str:
        """What features are of."""
        return "recording" if self.among.noun == SPEAKERS.noun else "photograph"

    @property
    def identified(self) -> Value | None:
        """The most that an identity attack got from one feature, of the float head or the int8 head."""
        return intervals.highest((self.identity, self.identity_int8))

    @property
    def leak(self) -> Value | None:
        """The most that an identity attack got, as `Card.identity_attack`: from one feature, or by averaging many."""
        return intervals.highest((self.identified, self.averaged, self.averaged_int8))


def read(folder: str | Path) -> list[dict[str, Any]]:
    """Reads all `<model>.json` of an audit.

    Raises:
        DataError: no result is there, or a file is not one.
    """
    results = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            usable = result["format"] == FORMAT and all(figure.keys() >= FIELDS for figure in result["figures"])
            usable = usable and {"model", "task", "cut", "embedding", "date", "git", "command"} <= result.keys()
        except (ValueError, KeyError, TypeError, AttributeError):
            usable = False
        if not usable:
            raise DataError(f"{path} is not a result of this version's audit; delete it and run tools/audit.py again.")
        results.append(result)
    if not results:
        raise DataError(f"{folder} holds no results; run tools/audit.py --model first.")
    return results


def told(figure: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Name of a figure's attacker as people read it: of speech there are recordings, not photographs.

    Args:
        figure: of the result.
        result: `audit/<model>.json`.
    """
    speech = result.get("yardstick") == RAW[SPEECH]
    return figure["attacker"].replace("photographs", "recordings") if speech else figure["attacker"]


def find(figures: Sequence[Mapping[str, Any]], **wanted: Any) -> list[Mapping[str, Any]]:
    """Figures that have all of these entries."""
    return [figure for figure in figures if all(figure[key] == value for key, value in wanted.items())]


def _value(figures: Sequence[Mapping[str, Any]]) -> Value | None:
    return _of(figures[0]) if figures else None


def _of(figure: Mapping[str, Any]) -> Value:
    return Value(
        figure["value"],
        figure["low"],
        figure["high"],
        source=figure["attacker"],
        weak=bool(figure.get("weak")),
        optimism=figure.get("optimism"),
        by_person=np.array([line.split() for line in lines], float) if (lines := figure.get("by_person")) else None,
        origin={key: figure[key] for key in ("date", "git", "data") if key in figure},
    )


def _of_card(found: Measurement | None) -> Value | None:
    if found is None:
        return None
    origin = {"date": found.date, "git": found.git, "seeds": found.seeds}
    origin |= {"head": f"{found.variant} {found.sha256[:12]}".strip()}  # one answer for all has no head
    return Value(**dataclasses.asdict(found.estimate()), source=found.variant, origin=origin)


def _highest(figures: Sequence[Mapping[str, Any]]) -> Value | None:
    return _value(sorted(figures, key=lambda f: -f["value"]))


def row(result: Mapping[str, Any], card: Card | None) -> Row:
    """One model's row.

    Args:
        result: of `read`.
        card: the model's; None for raw inputs.
    """
    own, code = (card.model.noise, card.model.code) if card else (None, None)

    def as_sent(figure: Mapping[str, Any]) -> bool:
        """With the noise that the model has, no other."""
        noise = figure["noise"]
        if noise and "sigma" not in noise:
            return bool(code and noise["epsilon"] == code.epsilon and not noise["permanent"])
        return math.isclose(noise["sigma"], own.sigma, rel_tol=1e-3) if own and noise else not (own or noise)

    figures = [figure for figure in result["figures"] if as_sent(figure)]
    variant = YARDSTICKS.get(result["model"], FLOAT)
    # The yardsticks' features are raw inputs in several forms.
    features = [f for f in find(figures, best=True) if f["feature"] in ("features", *RAW_FEATURES)]
    top = {"attack": "identity", "metric": "top-1"}
    repeated = [figure for figure in find(features, variant=variant, **top) if figure["queries"] > 1]
    queried = {f["queries"]: _of(f) for f in sorted(repeated, key=lambda f: f["queries"])}
    most = max(queried, default=1)
    measured = card.figure("accuracy", FLOAT_ACCURACY) if card else None
    floors = {f["feature"]: _of(f) for f in find(result["figures"], best=True, **top) if f["feature"] in FLOORS}
    once = [figure for figure in features if figure["queries"] == 1]
    attributes = {
        name: _of(found[0]) for name in ("race", "gender", "age") if (found := find(once, attack=name, variant=variant))
    }
    ranks = {kind: _value(find(figures, attack="rank", attacker=kind, variant=variant)) for kind in RANKS}
    recognised = _value(find(once, attack="reconstruction", metric="recognised", variant=variant))
    pictures = find(figures, attack="reconstruction", feature="features", variant=variant) if recognised else []
    decoded = find(pictures, attacker=recognised.source) if recognised else []
    likeness = {name: value for name in ("PSNR", "SSIM") if (value := _value(find(decoded, metric=name)))}
    return Row(
        model=result["model"],
        task=result["task"] or "",
        embedding=result["embedding"] or "",
        cut=result["cut"] or "",
        accuracy=_of_card(measured),
        balanced=_of_card(card.figure(BALANCED, FLOAT_ACCURACY)) if card else None,
        one_answer=_of_card(card.one_answer()) if card else None,
        identity=_highest(find(once, variant=variant, **top)),
        identity_int8=_value(find(once, variant=INT8, **top)),
        top5=_highest(find(once, attack="identity", metric="top-5", variant=variant)),
        averaged=queried.get(most),
        averaged_int8=_highest([f for f in find(features, variant=INT8, **top) if f["queries"] > 1]),
        queries=most,
        queried=queried,
        floors=floors,
        rank=ranks[RANKS[0]],
        rank_other=ranks[RANKS[1]],
        rank_sample=ranks[RANKS[2]],
        recognised=recognised,
        likeness=likeness,
        attributes=attributes,
        head_share=card.cost.head_share if card else None,
        feature_bytes=card.cost.feature_bytes if card else None,
        result=result,
        among=_among(result, floors.get("chance")),
    )


def _among(result: Mapping[str, Any], chance: Value | None) -> Crowd:
    """Among whom attackers looked for a person; guessing says how many."""
    usual = SPEAKERS if result.get("yardstick") == RAW[SPEECH] else FACES
    return dataclasses.replace(usual, people=round(1 / chance.value)) if chance else usual


@dataclass(frozen=True)
class Comparison:
    """Two models that differ in one thing."""

    question: str
    before: str
    after: str
    identity: Value  # after minus before
    accuracy: Value | None
    answer: str  # "yes", "no", "at a cost", "not shown"


SIAMESE, REDUCTION, NOISE, AVERAGED, CUT, INT8_LEAKS = (
    "Does Siamese fine-tuning help, at equal accuracy?",
    "Does reduction help, at equal accuracy?",
    "Does noise help, at equal accuracy?",
    "Does it still help when many features of one image are averaged?",
    "Does a later cut help, at equal accuracy?",
    "Does int8 change what leaks?",
)
#: Question -> embeddings that differ in that alone.
PAIRS = {
    SIAMESE: (("simple", "siamese"), ("reduced_simple", "reduced_siamese"), ("noisy_reduced_simple", "advanced")),
    REDUCTION: (("simple", "reduced_simple"), ("siamese", "reduced_siamese")),
    NOISE: (("reduced_simple", "noisy_reduced_simple"), ("reduced_siamese", "advanced")),
    AVERAGED: (("reduced_simple", "noisy_reduced_simple"), ("reduced_siamese", "advanced")),
}


def _answer(identity: Value, accuracy: Value | None) -> str:
    if identity.low > 0:
        return "no"
    if identity.high >= 0:
        return "not shown"
    return "yes" if accuracy and accuracy.low > -EQUAL else "at a cost"


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """The ablations that the rows allow; nothing is shown if the interval of the identification rate contains 0."""
    found = []
    by_place = {(r.task, r.embedding, r.cut): r for r in rows if r.identity and r.task}

    def add(question: str, a: Row | None, b: Row | None) -> None:
        if a and b and a.identity and b.identity:
            accuracy = b.accuracy.minus(a.accuracy) if a.accuracy and b.accuracy else None
            identity = (b.averaged or b.identity if question == AVERAGED else b.identity).minus(a.identity)
            found.append(Comparison(question, a.model, b.model, identity, accuracy, _answer(identity, accuracy)))

    places = sorted({(task, cut) for task, _, cut in by_place})
    for question, pairs in PAIRS.items():
        for before, after in pairs:
            for task, cut in places:
                add(question, by_place.get((task, before, cut)), by_place.get((task, after, cut)))
    for task, embedding in sorted({(task, embedding) for task, embedding, _ in by_place}):
        cuts = sorted(cut for t, e, cut in by_place if (t, e) == (task, embedding))
        for early, late in zip(cuts, cuts[1:], strict=False):
            add(CUT, by_place[task, embedding, early], by_place[task, embedding, late])
    for r in rows:
        if r.identity and r.identity_int8:
            difference = r.identity_int8.minus(r.identity)
            answer = "not shown" if difference.low <= 0 <= difference.high else "yes"
            found.append(Comparison(INT8_LEAKS, f"{r.model}, float", f"{r.model}, int8", difference, None, answer))
    return found
