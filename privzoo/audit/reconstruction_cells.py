"""Reconstruction and trade-offs of one model: cells of the audit's grid.

The faces are those of the identity attack, so that their features are computed once. The attacker's own faces are
LFW's other people, whose photographs are most similar to the scored ones, and UTKFace's.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import privzoo
from privzoo import activations
from privzoo import faces as chips
from privzoo.audit import features, runner
from privzoo.audit.attacks import decoders, descriptor, image_decoders, recogniser, reconstruction, tradeoff
from privzoo.audit.attacks.recogniser import Gallery, Recogniser
from privzoo.audit.cells import Known, Plan
from privzoo.audit.features import Faces, View
from privzoo.audit.model_audit import Data
from privzoo.audit.report.audit_page import Pictures, save_faces
from privzoo.audit.runner import Cell
from privzoo.config import OBFUSCATED, SPEECH
from privzoo.data import lfw, splits
from privzoo.errors import WeightsError
from privzoo.export.manifests import model_sha256
from privzoo.files import replacing
from privzoo.mechanisms.gaussian import Noise, spent_epsilon
from privzoo.model import SplitModel

SHOWN = 7  # people in a model's picture, besides the one whose portrait may be published
PRIMARY = 2_000  # faces for the accuracy of a trade-off
PUBLIC = "astronaut"
UNDRAWN = ("linear", *image_decoders.UNTRAINED)  # methods that draw nothing but the noise


def _noise(settings: dict[str, Any]) -> Noise | None:
    return Noise(**settings["noise"]) if settings["noise"] else None


def reconstruction_cell(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: one decoder with one seed. Returns scores of each face, and the faces to show."""
    rows = [np.asarray(source.read()[::step]) for source, step in zip(inputs["known"], settings["steps"], strict=True)]
    known = np.concatenate(rows), inputs["known_images"].read()
    scored = inputs["test"].rows(), inputs["test_images"].read(), inputs["test"].labels("identity")
    result = reconstruction.attack(
        known,
        scored,
        read_gallery(inputs["gallery"]),
        noise=_noise(settings),
        methods=(settings["method"],),
        seeds=(settings["seed"],),
        settings=decoders.Settings(**settings["decoder"]),
        shown=tuple(part.read() for part in inputs["shown"]),
        folder=inputs["folder"],
        network=settings.get("network"),
    )
    outcome = result.outcome(settings["method"])
    assert outcome.shown is not None, "a decoder's outcome has the faces to show"
    return {
        "scores": {metric: [round(float(v), 5) for v in rows[0]] for metric, rows in outcome.scores.items()},
        "shown": base64.b64encode(outcome.shown.tobytes()).decode("ascii"),
    }


def tradeoff_cell(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: the point of a trade-off at one standard deviation of the noise."""
    primary, train, test = inputs["primary"], inputs["train"], inputs["test"]
    (point,) = tradeoff.curve(
        settings["model"],
        _loaded(settings["model"]["model"], inputs["head"], settings["tail"]).classify,
        (primary.rows(), primary.labels(settings["model"]["task"])),
        (train.rows(), train.labels("identity")),
        (test.rows(), test.labels("identity")),
        radius=settings["radius"],
        grid=(settings["factor"],),
        seeds=settings["seeds"],
        people=primary.faces.labels.get("identity"),
    )
    return dataclasses.asdict(point)


@functools.lru_cache(maxsize=1)
def _loaded(name: str, head: str, tail: str) -> SplitModel:
    """The model in whichever process the cell runs: a loaded one cannot be sent between processes."""
    model = privzoo.load(name, head=head)
    if model_sha256(model.tail) != tail:
        raise WeightsError(f"The weights of {name} have changed since the audit began; run it again.")
    return model


def write_gallery(data: Data, cache: Path) -> Path:
    """Gallery of the available recogniser, dlib's if it is installed; created once and kept.

    Its file's name determines the cells that it judges, so that figures of the two recognisers never mix.
    """
    foreign = descriptor.installed()
    train, _ = data.people(descriptor.SIDE if foreign else recogniser.SIDE)
    facts: dict[str, Any]
    if foreign:
        facts = {"recogniser": descriptor.NAME, "gallery": train.key}
    else:
        inside = lfw.lfw100(data.root)[0].classes["identity"]
        images, people = recogniser.outside(data.root, inside, recogniser.SIDE)
        facts = {"images": images, "people": people, "gallery": train.key}
    path = cache / f"gallery_{activations.key(**facts)}.npz"
    if not path.exists():
        arrays: dict[str, Any] = {}
        judge: descriptor.Descriptor | Recogniser = descriptor.Descriptor()
        if not foreign:
            judge = fitted = recogniser.fit(facts["images"], facts["people"])
            arrays = {"mean": fitted.mean, "matrix": fitted.matrix}
        arrays |= {"name": np.array(judge.name), "people": judge.gallery(train.chips, train.labels["identity"]).people}
        with replacing(path, suffix=path.suffix) as temporary:
            np.savez(temporary, **arrays)
    return path


def read_gallery(path: Path) -> Gallery:
    """Reads what `write_gallery` wrote."""
    with np.load(path) as file:
        foreign = "name" in file and str(file["name"]) == descriptor.NAME
        known: descriptor.Descriptor | Recogniser
        known = descriptor.Descriptor() if foreign else Recogniser(file["mean"], file["matrix"])
        return Gallery(known, file["people"])


@dataclass(frozen=True)
class Looks:
    """What an audit reconstructs, the same for every model."""

    methods: tuple[str, ...] = ("linear", "up-convolution")  # of `reconstruction.METHODS`
    decoder: decoders.Settings = decoders.Settings()
    background: int = features.BACKGROUND  # faces of other LFW people
    utkface: bool = True  # the attacker's faces have UTKFace's among them


QUICK = Looks(("linear",), decoders.QUICK, 500, utkface=False)


def _common(model: SplitModel, view: View, data: Data) -> tuple[Known, Known, dict[str, Any]]:
    train, test = (Known((view.extract(side),), side) for side in data.people(model.input_size))
    noise = model.gaussian
    said = {"sigma": noise.sigma, "clip": noise.clip} if noise else None
    return train, test, {"train": train.keys, "test": test.keys, "noise": said}


def _budget(noise: Noise | None) -> dict[str, float] | None:
    if noise is None:
        return None
    return {"sigma": noise.sigma, "clip": noise.clip, "epsilon": round(spent_epsilon(noise, 1), 3)}


def reconstruction_figures(
    model: SplitModel,
    view: View,
    data: Data,
    plan: Plan,
    looks: Looks | None = None,
    engine: str = "local",
    progress: bool = True,
) -> tuple[list[dict[str, Any]], Pictures]:
    """Reconstruction of LFW-100 from a head's features, as figures of `audit/<model>.json`; and the model's picture."""
    looks, size, side = looks or Looks(), model.input_size, (looks or Looks()).decoder.side
    _, test, settings = _common(model, view, data)
    sources = [features.lfw_background(data.root, size, looks.background)]
    sources += [data.utkface_many(size)] if looks.utkface else []
    shown = _shown(test.faces, size)
    # UTKFace's are in the order of age: as many as the decoders use, evenly spaced.
    room = max(1, looks.decoder.faces - len(sources[0].chips))
    steps = [1] + [max(1, len(source.chips) // room) for source in sources[1:]]
    chosen = [source.chips[::step] for source, step in zip(sources, steps, strict=True)]
    images = recogniser.grey(np.concatenate(chosen), side)
    known = tuple(view.extract(source) for source in sources)
    gallery = write_gallery(data, plan.cache)
    inputs: dict[str, Any] = {
        "known": known,
        "known_images": features.stored(images, plan.cache),
        "test": test.light(),
        "test_images": features.stored(recogniser.grey(test.faces.chips, side), plan.cache),
        "shown": (view.extract(shown), features.stored(recogniser.grey(shown.chips, side), plan.cache)),
        "gallery": gallery,
    }
    settings |= {
        "known": [*(source.key for source in known), inputs["known_images"].key],
        "steps": steps,
        "shown": inputs["shown"][0].key,
        "gallery": gallery.stem,
        "decoder": dataclasses.asdict(looks.decoder),
    }
    cells = []
    # The slowest first, so that no core waits long at the end.
    methods = sorted(_methods(model, looks), key=reconstruction.METHODS.index, reverse=True)
    if image_decoders.OWN in methods:
        settings["network"] = model.config.network
    for method in methods:
        for seed in plan.seeds:
            # Ridge regression draws nothing but the noise: without it, one cell serves all seeds.
            drawn = plan.seeds[0] if method in UNDRAWN and model.noise is None else seed
            own = {**settings, "method": method, "seed": drawn}
            # Checkpoints under a name of all that decides the decoder.
            folder = plan.cache / "decoders" / activations.key(**own)
            cells.append(Cell(reconstruction_cell, own, {**inputs, "folder": folder}))
    rows = runner.run(cells, plan.cache, engine, progress)
    originals = reconstruction.grey_pictures(shown.chips, side)
    outcomes, seen = [], {}
    for i, method in enumerate(methods):
        found = rows[i * len(plan.seeds) : (i + 1) * len(plan.seeds)]
        scores = {m: np.array([row["scores"][m] for row in found]) for m in reconstruction.METRICS}
        seen[method] = np.frombuffer(base64.b64decode(found[0]["shown"]), np.uint8).reshape(originals.shape)
        outcomes.append(reconstruction.Outcome(method, scores, seen[method]))
    people = test.labels("identity")
    scored = reconstruction.grey_pictures(test.faces.chips, side)
    judge = read_gallery(gallery)
    ends = reconstruction.ends(images, scored, people, judge)
    result = reconstruction.Result((*outcomes, *ends), people, plan.seeds, originals)
    common = {
        "variant": view.name,
        "noise": _budget(model.gaussian),
        "recogniser": judge.recogniser.name,
        "data": test.faces.name,
        "sha256": view.sha256,
    }
    ordered = sorted(outcomes, key=lambda outcome: outcome.attacker != result.best)
    public = np.arange(len(originals)) == len(originals) - 1
    pictures = Pictures(originals, {outcome.attacker: seen[outcome.attacker] for outcome in ordered}, public)
    return reconstruction.figures(result, common), pictures


def _methods(model: SplitModel, looks: Looks) -> set[str]:
    """The methods that are asked for, and all those for images if the feature is one; of the quick ones only few."""
    image = model.config.embedding == OBFUSCATED
    own = (image_decoders.UNTRAINED if looks is QUICK else image_decoders.METHODS) if image else ()
    return {*looks.methods, *own}


def _shown(test: Faces, size: int) -> Faces:
    """The first scored photograph of some people, and the public portrait last."""
    from skimage.data import astronaut

    _, first = np.unique(test.labels["identity"], return_index=True)
    # In the order of their numbers of photographs; every other one, to show more women than the first few have.
    chosen = first[: 2 * SHOWN : 2]
    portrait, _, _ = chips.chips(astronaut(), size)
    return Faces("shown", np.concatenate([test.chips[chosen], portrait]), {}, (*(test.ids[i] for i in chosen), PUBLIC))


def tradeoff_points(
    model: SplitModel,
    data: Data,
    plan: Plan,
    factors: Sequence[float] = tradeoff.GRID,
    engine: str = "local",
    progress: bool = True,
) -> list[tradeoff.Point]:
    """A noisy model's accuracy against privacy at each standard deviation of the noise; empty for other models.

    At no noise the curve is that of the reduced model with the same head.
    """
    noise = model.gaussian
    if noise is None:
        return []
    view, size, task = features.float_view(model, plan.cache), model.input_size, model.card.network.task
    train, test, settings = _common(model, view, data)
    everyone = splits.test_set(model.card.network, data.root)
    faces = features.read(splits.take(everyone, PRIMARY), f"{everyone.name}-primary", size, task)
    primary = Known((view.extract(faces),), faces)
    settings |= {
        "model": {"model": model.name, "task": task, "embedding": model.config.embedding, "cut": model.config.cut},
        "tail": model_sha256(model.tail),
        "primary": primary.keys,
        "radius": noise.clip,
        "seeds": list(plan.seeds),
    }
    del settings["noise"]
    inputs = {"primary": primary.light(), "train": train.light(), "test": test.light(), "head": model.card.head}
    cells = [Cell(tradeoff_cell, {**settings, "factor": factor}, inputs) for factor in factors]
    return [tradeoff.Point(**row) for row in runner.run(cells, plan.cache, engine, progress)]


def measure(
    model: SplitModel,
    data: Data,
    plan: Plan,
    folder: Path,
    looks: Looks | None = None,
    engine: str = "local",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Reconstructs faces from the float head's features, and stores a model's picture and trade-off with its results.

    Args:
        model: the model.
        data: faces.
        plan: cache and seeds.
        folder: of the results: `<model>.npz` and `tradeoff.csv` are written there.
        looks: what is done; None: all, `QUICK`: without trade-offs.
        engine: see `grid.run`.
        progress: show progress bars.

    Returns:
        Figures of `audit/<model>.json`; without reconstructions for a network of the user's own data; none for speech,
        of which there is nothing to look at.
    """
    if model.card.network.input == SPEECH:
        return []
    figures: list[dict[str, Any]] = []
    if not model.card.network.own_data:  # what decoders learn from, and the recogniser, are of the research data sets
        view = features.float_view(model, plan.cache)
        figures, pictures = reconstruction_figures(model, view, data, plan, looks, engine, progress)
        save_faces(folder / f"{model.name}.npz", pictures)
    if looks is not QUICK and (points := tradeoff_points(model, data, plan, engine=engine, progress=progress)):
        tradeoff.add_csv(points, folder / "tradeoff.csv")
    return figures
