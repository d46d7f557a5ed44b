"""The audit of one model: its features and floors under the attacks of protocols 3 and 4, and the yardstick."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privzoo import architectures
from privzoo.architectures import obfuscator
from privzoo.audit import cells, features, raw_pixels, runner
from privzoo.audit.attacks import attackers, deep, symbols
from privzoo.audit.attacks.attributes import REGRESSORS
from privzoo.audit.attacks.verification import FRESH
from privzoo.audit.cells import Known, Plan, Target
from privzoo.audit.features import FLOAT, Faces, View
from privzoo.audit.report import summary
from privzoo.audit.runner import Cell
from privzoo.errors import ConfigError
from privzoo.evaluation.drawn import Coded
from privzoo.export.manifests import QUANTIZATIONS
from privzoo.measurement import Measurement
from privzoo.mechanisms.gaussian import DELTA, Noise, budget_sigma, spent_epsilon
from privzoo.mechanisms.randomized_response import RandomizedResponse
from privzoo.model import SplitModel
from privzoo.provenance import git_revision

ATTRIBUTES = {"gender": ("race", "age"), "emotion": ("gender",)}  # task -> what else its features may reveal
CODE_EPSILONS = (1.0, 2.0, 4.0)  # at which codes are attacked beside their own budget, where nothing else is asked
STRONG = 0.8  # top-1 that attackers must reach on raw inputs, else they are too weak to prove anything


class Data:
    """Faces of every protocol, read once for each size.

    `privzoo.audit.own` has those of the user's own data, `privzoo.audit.speech` the clips of speakers.

    Args:
        root: folder of the data sets.
        quick: fewer training faces, no mirror images, no background.
    """

    attributes: Mapping[str, tuple[str, ...]] = ATTRIBUTES
    mirrors = True  # whether attackers learn from mirror images too
    yardstick = "raw_pixels"  # name of the result of attacks on the raw inputs, whose kinds, size and view these are:
    kinds: tuple[str, ...] = raw_pixels.KINDS
    raw_size: int | None = raw_pixels.SIDE
    raw_view: Callable[[str, Path], View] = staticmethod(raw_pixels.view)

    def __init__(self, root: str | Path, quick: bool = False) -> None:
        self.root, self.quick = root, quick
        # Known and scored inputs of those who are looked for, by the networks' input size; None of speech.
        self.people: Callable[[int | None], tuple[Faces, Faces]]
        self.people = functools.cache(lambda size: features.lfw100(root, size, quick))
        # Protocol 7: settings are chosen on different people than those who are measured.
        self.choosing: Callable[[int | None], tuple[Faces, Faces]]
        self.choosing = functools.cache(lambda size: features.lfw100(root, size, quick, after=100))
        self.background: Callable[[int | None], Faces | None]
        self.background = functools.cache(lambda size: features.lfw_background(root, size))
        self.utkface = functools.cache(lambda size: features.utkface_faces(root, size, quick))
        self.utkface_many = functools.cache(lambda size: features.utkface_many(root, size, quick))
        self.pairs: Callable[[int | None], Faces | None]
        self.pairs = functools.cache(lambda size: features.lfw_pairs(root, size, quick))
        self.lfw_gender = functools.cache(lambda size: features.lfw_gender(root, size, quick))

    def attribute(self, label: str, size: int | None) -> tuple[Faces, Faces]:
        """Training and scored faces of an attribute."""
        return self.lfw_gender(size) if label == "gender" else self.utkface(size)


@dataclass(frozen=True)
class Attack:
    """Cells whose results make figures together."""

    target: Target
    label: str
    queries: int
    cells: tuple[Cell, ...]


def views(model: SplitModel, quantizations: Sequence[str], cache: Path, heads: Path | None = None) -> list[View]:
    """Heads of a model: "float", or an exported one as "int8", from the folder `heads` or made now.

    Raises:
        ConfigError: no such quantization.
        WeightsError: the folder's head is of other weights, or the folder has no heads.
    """
    made = []
    for quantization in quantizations:
        if quantization == "float":
            made.append(features.float_view(model, cache))
        elif quantization in QUANTIZATIONS:
            made.append(features.deployed_view(model, quantization, cache, heads))
        else:
            raise ConfigError(f"There is no head {quantization!r}; there are float, {', '.join(QUANTIZATIONS)}.")
    return made


def _identity_target(view: View, feature: str, data: Data, size: int | None) -> Target:
    train, test = data.people(size)
    known = [view.extract(train)]
    if data.mirrors and not data.quick:
        known.append(view.extract(train.mirrored()))
    values = known[0].read()
    background = None
    if not data.quick and values[0].size > attackers.SMALL:
        others = data.background(size)
        background = Known((view.extract(others),), others) if others else None
    return Target(feature, view, Known(tuple(known), train), Known((view.extract(test),), test), background=background)


def noises(model: SplitModel, plan: Plan) -> list[tuple[Noise | Coded | None, float | None, tuple[int, ...]]]:
    """Noise or code, its epsilon and numbers of queries. Without noise, one query tells as much as many.

    Codes come without permanent answers, and then with, which matters from the second query on.
    """
    if model.book is not None:
        most = max(plan.queries)
        found: list[tuple[Noise | Coded | None, float | None, tuple[int, ...]]] = []
        assert isinstance(model.noise, RandomizedResponse), "symbols are sent by randomized response"
        for epsilon in dict.fromkeys((model.noise.budget, *(plan.epsilons or CODE_EPSILONS))):
            code = Coded(model.book, RandomizedResponse(model.book.k, epsilon))
            found.append((code, epsilon, tuple(dict.fromkeys((1, most)))))
            if most > 1:
                found.append((replace(code, permanent=True), epsilon, (most,)))
        return found
    noise = model.gaussian
    if noise is None:
        return [(None, None, (1,))]
    radius = noise.clip
    own = (noise, round(spent_epsilon(noise, 1), 3), plan.queries)
    return [own, *((Noise(budget_sigma(e, DELTA, radius), radius), e, plan.queries) for e in plan.epsilons)]


def attacks(model: SplitModel, view: View, data: Data, plan: Plan) -> list[Attack]:
    """All attacks on single people's features from one head of a model.

    Args:
        model: whose features and answers are attacked.
        view: its head.
        data: faces.
        plan: attackers, seeds, queries, and whether the deep attacker is run: on heads that give the activation of the
            last cut ("last") or of any ("spatial"), on all float heads, or on none.
    """
    if model.book is not None:
        return _on_code(model, view, data, plan)
    size, found = model.card.network.input_size, []
    clean = _identity_target(view, "features", data, size)
    for noise, epsilon, queries in noises(model, plan):
        target = replace(clean, noise=noise, epsilon=epsilon)
        # Averaging takes noise away, not the rounding of an exported head.
        queries = queries if view.name == FLOAT else queries[:1]
        found += [Attack(target, "identity", q, tuple(cells.make(target, "identity", plan, q))) for q in queries]
    first = found[0].target
    if view.name == FLOAT and _goes_deep(model, plan.deep):
        # The tail of an image is the whole network, too deep to be trained from a random start without batch norm.
        image = model.config.cut == obfuscator.CUT
        layers = deep.small_network(mirror=False) if image else deep.tail_layers(model.tail)
        own = cells.make(first, "identity", plan, 1, ["cnn" if image else "deep"], layers)
        found[0] = replace(found[0], cells=(*found[0].cells, *own))
    found.append(Attack(first, "rank", 1, tuple(cells.make_ranks(first, plan))))
    found += [_floor(t, "identity", plan) for t in first.answers(model, plan.cache)]
    # The float head only: thousands of faces more for each exported one, and its features differ by little.
    for label in data.attributes.get(model.card.network.task, ()) if view.name == FLOAT else ():
        train, test = data.attribute(label, size)
        known, scored = (Known((view.extract(faces),), faces) for faces in (train, test))
        target = Target("features", view, known, scored, noise=model.gaussian, epsilon=found[0].target.epsilon)
        # The ends only: these attacks learn from thousands of faces each.
        queries = (1,) if model.noise is None else tuple(dict.fromkeys((plan.queries[0], plan.queries[-1])))
        found += [Attack(target, label, q, tuple(_attribute_cells(target, label, plan, q))) for q in queries]
        found += [_floor(t, label, plan) for t in target.answers(model, plan.cache)]
    return found


def _on_code(model: SplitModel, view: View, data: Data, plan: Plan) -> list[Attack]:
    """Attacks on a code, at each budget, by the usual attackers and by Bayes' rule over its symbols.

    Rank privacy is left out: equations 2 to 4 rank people by the density of the noise around each of their features.
    With k symbols there are only k likelihoods, shared by all people with the same symbol, so ranks are ties that only
    say how many people share it; leakage bounds what the likelihoods reveal. Floors are left out too: the answer is
    computed from the symbol.
    """
    found, size = [], model.card.network.input_size
    sides = {"identity": _identity_target(view, "features", data, size)}
    for label in data.attributes.get(model.card.network.task, ()) if view.name == FLOAT else ():
        train, test = (Known((view.extract(faces),), faces) for faces in data.attribute(label, size))
        sides[label] = Target("features", view, train, test)
    for code, epsilon, queries in noises(model, plan):
        for label, clean in sides.items():
            target = replace(clean, noise=code, epsilon=epsilon)
            for number in queries:
                own = _attribute_cells(target, label, plan, number)
                if label != "age":
                    own += cells.make(target, label, plan, number, [symbols.NAME])
                found.append(Attack(target, label, number, tuple(own)))
    return found


def _goes_deep(model: SplitModel, which: str) -> bool:
    last = model.config.cut in (architectures.cuts(model.card.network.architecture)[-1], obfuscator.CUT)
    spatial = len(model.head.output_shape) == 4
    return which == "all" or (spatial and (which == "spatial" or (which == "last" and last)))


def _attribute_cells(target: Target, label: str, plan: Plan, queries: int = 1) -> list[Cell]:
    return cells.make(target, label, plan, queries, list(REGRESSORS) if label == "age" else None)


def _floor(target: Target, label: str, plan: Plan) -> Attack:
    return Attack(target, label, 1, tuple(_attribute_cells(target, label, plan)))


def yardstick(data: Data, plan: Plan) -> list[Attack]:
    """The identity attack on raw inputs, with a small convolutional network in addition to the usual attackers."""
    found = []
    for kind in data.kinds[-1:] if data.quick else data.kinds:
        target = _identity_target(data.raw_view(kind, plan.cache), kind, data, data.raw_size)
        own = cells.make(target, "identity", plan)
        if kind == data.kinds[0] and plan.deep != "none":
            # It mirrors its training images itself.
            alone = replace(target, train=Known(target.train.features[:1], target.train.faces))
            own += cells.make(alone, "identity", plan, 1, ["cnn"], deep.small_network(data.mirrors))
        found.append(Attack(target, "identity", 1, tuple(own)))
    return found


def measure(attacks: Sequence[Attack], plan: Plan, engine: str, progress: bool) -> list[dict[str, Any]]:
    """Runs attacks and returns their figures, with those of guessing."""
    every = [cell for attack in attacks for cell in attack.cells]
    results = iter(runner.run(every, plan.cache, engine, progress))
    figures, guessed = [], set()
    for attack in attacks:
        own = [next(results) for _ in attack.cells]
        place = (attack.label, attack.target.view.name)
        if attack.label not in ("age", "rank") and place not in guessed:
            guessed.add(place)
            figures += cells.chance(attack.target, attack.label)
        if attack.label == "rank":
            figures += cells.rank_figures(attack.target, plan, own)
            continue
        figures += cells.figures(attack.target, attack.label, plan, attack.queries, own)
    return figures


def too_weak(figures: Sequence[dict[str, Any]]) -> bool:
    """Whether even the yardstick's best attacker fails too often on raw inputs."""
    return max(f["value"] for f in figures if f["metric"] == "top-1") < STRONG


def marked(figures: Sequence[dict[str, Any]], weak: bool) -> list[dict[str, Any]]:
    """The figures, with those on identity marked if the attackers fail on raw inputs."""
    return [{**figure, "weak": weak and figure["attack"] == "identity"} for figure in figures]


def document(
    model: SplitModel | None,
    figures: list[dict[str, Any]],
    command: str,
    quick: bool,
    git: str | None = None,
    yardstick: str = Data.yardstick,
) -> dict[str, Any]:
    """What goes into `audit/<model>.json`; see `privzoo.audit.runner`.

    Args:
        model: that was attacked; None: raw inputs.
        figures: of `measure`.
        command: that repeats them.
        quick: they are of a trial run.
        git: revision of the code that attacked; None: as it is now.
        yardstick: of the model's kind of input, `Data.yardstick`.
    """
    config = model.config if model else None
    return {
        "format": runner.FORMAT,
        "model": model.name if model else yardstick,
        "yardstick": yardstick,
        "network": config and config.network,
        "task": model.card.network.task if model else None,
        "cut": config and config.cut,
        "embedding": config and config.embedding,
        "date": datetime.date.today().isoformat(),
        "git": git or git_revision(),
        "command": command,
        "quick": quick,
        "figures": figures,
    }


def merged(
    written: dict[str, Any], earlier: dict[str, Any] | None, ran: Sequence[str], heads: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A document with the figures of an earlier one for the groups of attacks, and heads, that were not run this time.

    Args:
        written: of `document`.
        earlier: likewise; None: there is none.
        ran: groups of attacks, of `runner.GROUPS`.
        heads: variant -> SHA-256 of each head as it is now, attacked or not.

    Returns:
        The document; kept figures say their own date, revision and command. Those of other weights are dropped, and so
        are those of a head that is another now. Of a head that was not looked at they stay if another head's figures
        show that the weights are the same.
    """
    heads = heads or {}
    own = {*heads.values(), *(figure["sha256"] for figure in written["figures"])}
    looked_at = {*heads, *(figure.get("variant") for figure in written["figures"])}
    before = (earlier or {}).get("figures", ())
    same = any(figure["sha256"] in own for figure in before)

    def stays(figure: Mapping[str, Any]) -> bool:
        if figure.get("variant") in looked_at:
            return runner.group(figure["attack"]) not in ran and figure["sha256"] in own
        return same

    facts = {key: (earlier or {}).get(key) for key in ("date", "git", "command")}
    kept = [{**facts, **figure} for figure in before if stays(figure)]
    return {**written, "figures": [*kept, *written["figures"]]}


def attacked(view: str, feature: str, epsilon: float | None = None, queries: int = 1, permanent: bool = False) -> str:
    """What was attacked, as cards name it: "float head, feature, epsilon 42.836, 1 query".

    Args:
        view: of the head, "float head" or "int8 TFLite head"; or of raw inputs.
        feature: "features", or "label" or "logit" of the answer alone.
        epsilon: of the noise; None without.
        queries: that are averaged.
        permanent: answers are drawn once and repeated.
    """
    names = {"features": "feature", "label": "predicted class alone", "logit": "class probabilities alone"}
    parts = [view, names.get(feature, feature)]
    if epsilon is not None:
        parts.append(f"epsilon {epsilon:g}, {queries} {'query' if queries == 1 else 'queries'}")
    if permanent:
        parts.append("permanent answers")
    return ", ".join(parts)


def measurements(written: dict[str, Any]) -> list[Measurement]:
    """Figures for the card: the strongest attacker on each feature."""
    made = []
    for figure in written["figures"]:
        if not figure["best"]:
            continue
        epsilon = figure["noise"] and figure["noise"]["epsilon"]
        permanent = bool(figure["noise"] and figure["noise"].get("permanent"))
        parts = [attacked(figure["variant"], figure["feature"], epsilon, figure["queries"], permanent)]
        if figure.get("service", FRESH) != FRESH:
            parts.append(figure["service"])
        if figure["attack"] == "rank":
            parts.append(summary.told(figure, written))
        if figure["weak"]:
            parts.append(f"attackers too weak on {written.get('yardstick', Data.yardstick).replace('_', ' ')}")
        made.append(
            Measurement(
                metric=figure["metric"]
                if figure["attack"] == "rank"
                else f"{figure['attack']} attack, {figure['metric']}",
                variant=", ".join(parts),
                data=figure["data"],
                **{key: figure[key] for key in ("value", "low", "high", "count", "sha256")},
                seeds=tuple(figure["seeds"]),
                **{key: figure.get(key, written[key]) for key in ("date", "git", "command")},
                unit="years" if figure["attack"] == "age" else "share",
            )
        )
    return made
