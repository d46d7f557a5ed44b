"""What the cloud sees: features of face chips before noise, computed once and kept on disk for all attacks.

Noise is drawn later, by the attacks. So a noisy model shares its features with the reduced one whose head has the same
weights: features are kept under a hash of the head's layers, their weights, and the chips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.data import Dataset, arrays, lfw, splits, utkface
from privzoo.data.samples import Sample
from privzoo.errors import ConfigError, DataError, FeatureError
from privzoo.files import replacing, write_array
from privzoo.model import BATCH, SplitModel

if TYPE_CHECKING:
    import keras

FLOAT, PIXELS, SPECTROGRAMS = "float head", "pixels", "spectrograms"
BACKGROUND = 3000  # faces of other LFW people, whole people, for learning what differs between people
PHOTOGRAPHS = 4  # of a person at most in pairs, so that they are not about the few who are photographed most
ATTRIBUTE_TRAINING = 6000  # faces from which the gender attack and decoders learn, evenly spaced
ATTRIBUTE_SCORED = 2400  # LFW faces on which the gender attack is scored, and at most of UTKFace for race and age
FEW = 5  # training images of a person in a quick audit
SHARE = 12  # of the faces that attribute attacks learn from and are scored on, a quick audit takes one in so many


@dataclass(frozen=True)
class Faces:
    """Face chips of one data set at one size, or its clips of speech, with their labels."""

    name: str
    chips: np.ndarray  # uint8 RGB (N, S, S, 3); clips, int16 (N, 16000)
    labels: dict[str, np.ndarray]  # label -> (N,)
    ids: tuple[str, ...]  # hash of each chip's pixels or clip's samples; a mirror image has its original's

    @property
    def key(self) -> str:
        """Hash of the pixels' hashes and of the labels."""
        from privzoo import activations

        return activations.key(ids=list(self.ids), **{f"label {k}": v for k, v in self.labels.items()})

    def without(self, others: Faces) -> Faces:
        """These faces except those whose chips are among others."""
        known = set(others.ids)
        kept = [i for i, name in enumerate(self.ids) if name not in known]
        labels = {label: values[kept] for label, values in self.labels.items()}
        return Faces(self.name, self.chips[kept], labels, tuple(self.ids[i] for i in kept))

    def mirrored(self) -> Faces:
        """The mirror images."""
        return Faces(f"{self.name}-mirrored", np.ascontiguousarray(self.chips[:, :, ::-1]), self.labels, self.ids)


@dataclass(frozen=True)
class Features:
    """Features of some faces on disk."""

    path: Path  # .npy, float32 (N, *feature shape)
    key: str  # hash of all that decides them

    def read(self) -> np.ndarray:
        """The features, read-only, mapped from disk."""
        return np.load(self.path, mmap_mode="r")


@dataclass(frozen=True)
class View:
    """One head whose features are attacked."""

    name: str  # "float head", "int8 TFLite head"; "pixels" or "spectrograms" of the yardsticks
    sha256: str  # of the head: float weights, or the .tflite's flatbuffer
    extract: Callable[[Faces], Features]


def read(data: Dataset | list[Sample], name: str, size: int | None, task: str | None = None) -> Faces:
    """Reads chips of a data set at a network's input size, with all labels, or with one and the identity if known.

    Clips of speech have one size, None.
    """
    samples = data.samples if isinstance(data, Dataset) else data
    if task is not None and not all(task in sample.labels for sample in samples):
        samples = [sample for sample in samples if task in sample.labels]
    if not samples and task is not None:
        arrays(data, size, task)  # says what is missing
    chips, labels = arrays(samples, size)
    labels = {name: values for name, values in labels.items() if task in (None, name) or name == "identity"}
    return Faces(name, chips, labels, tuple(hashlib.sha256(chip.tobytes()).hexdigest()[:16] for chip in chips))


def lfw100(root: str | Path, size: int, quick: bool = False, after: int = 0) -> tuple[Faces, Faces]:
    """Training and scored faces of protocol 3; `quick` keeps `FEW` training images of a person and half of the scored.

    Args:
        root: folder of the data sets.
        size: side of the chips in pixels.
        quick: fewer faces.
        after: as for `privzoo.data.lfw.lfw100`; 100 gives the people on whom settings are chosen.

    Raises:
        DataError: the layout is missing, or an image is on both sides.
    """
    from privzoo.audit.attacks.identity import check_apart

    train, test = lfw.lfw100(root, after=after)
    chosen = [side.samples for side in (train, test)]
    if quick:
        known, scored = (_by_person(samples) for samples in chosen)
        chosen = [sum((own[:FEW] for own in known), []), sum((own[::2] for own in scored), [])]
    learnt, judged = (read(samples, side.name, size) for samples, side in zip(chosen, (train, test), strict=True))
    check_apart(learnt.ids, judged.ids)
    return learnt, judged


def _by_person(samples: list[Sample]) -> list[list[Sample]]:
    people: dict[int, list[Sample]] = {}
    for sample in samples:
        people.setdefault(sample.person, []).append(sample)
    return list(people.values())


def lfw_background(root: str | Path, size: int, count: int = BACKGROUND) -> Faces:
    """About `count` faces of LFW people outside LFW-100 who have two images or more; all images of each person."""
    inside = {name.split("/")[1] for side in lfw.lfw100(root) for name in (s.name for s in side.samples)}
    people: dict[str, list[Sample]] = {}
    for sample in lfw.load(root, gender=False).samples:
        person = sample.name.split("/")[1]
        if person not in inside:
            people.setdefault(person, []).append(sample)
    chosen: list[Sample] = []
    # Those with the most images first: they say most about how photographs of one person differ.
    for person in sorted(people, key=lambda p: (-len(people[p]), p)):
        if len(people[person]) < 2 or len(chosen) >= count:
            break
        chosen += people[person]
    if not chosen:
        raise DataError(f"{root} holds no LFW people besides LFW-100 with two images or more; use the whole data set.")
    return read(chosen, "lfw-background", size)


def lfw_pairs(root: str | Path, size: int, quick: bool = False) -> Faces:
    """Faces for verification: all people of LFW with two images or more, `PHOTOGRAPHS` of each at most.

    No network was trained on LFW; attackers learn from people other than those on whom they are scored. `quick` uses
    two images each of fewer people.
    """
    people = _by_person(lfw.load(root, gender=False).samples)
    chosen = [own[: 2 if quick else PHOTOGRAPHS] for own in people if len(own) > 1]
    if quick:
        chosen = chosen[: max(20, len(chosen) // SHARE)]
    if not chosen:
        raise DataError(f"{root} holds no LFW people with two images or more; use the whole data set.")
    return read(sum(chosen, []), "lfw-pairs", size)


def lfw_gender(root: str | Path, size: int, quick: bool = False) -> tuple[Faces, Faces]:
    """Training and scored faces of protocol 4's gender: LFW, a third of the people (by their names' hash) scored."""
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in lfw.load(root).samples:
        person = sample.name.split("/")[1]
        sides[int(hashlib.sha256(person.encode()).hexdigest(), 16) % 3 == 0].append(sample)
    few = SHARE if quick else 1
    parts = (
        (sides[0], "lfw-gender-train", ATTRIBUTE_TRAINING // few),
        (sides[1], "lfw-gender-test", ATTRIBUTE_SCORED // few),
    )
    train, test = (
        read(splits.take(Dataset(name, samples, {}), count), name, size, "gender") for samples, name, count in parts
    )
    return train, test


def utkface_many(root: str | Path, size: int, quick: bool = False) -> Faces:
    """UTKFace training faces, evenly spaced: for decoders in addition to LFW's, since they need thousands."""
    train = splits.take(utkface.load(root, split="train"), ATTRIBUTE_TRAINING // (SHARE if quick else 1))
    return read(train, "utkface-train", size)


def utkface_faces(root: str | Path, size: int, quick: bool = False) -> tuple[Faces, Faces]:
    """Training and scored faces of protocol 4's race and age: halves of UTKFace's validation part, by a hash.

    The training part is not used: the networks have learnt its faces, so its features differ from those that the
    attacker will see, and an attacker who learns from them is weaker than necessary.
    """
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in utkface.load(root, split="validation").samples:
        halves[int(hashlib.sha256(sample.name.encode()).hexdigest(), 16) % 2].append(sample)
    names = ("utkface-validation, first half", "utkface-validation, second half")
    few = ATTRIBUTE_SCORED // (SHARE if quick else 1)  # a whole half has fewer
    known, scored = (
        read(splits.take(Dataset(name, half, {}), few), name, size) for half, name in zip(halves, names, strict=True)
    )
    # UTKFace has some photographs twice, under two names.
    return known, scored.without(known)


def float_view(model: SplitModel, cache: Path) -> View:
    """A model's float head; the first layers and the cut's activation, which models share, are cached too."""
    from privzoo import activations, architectures
    from privzoo.architectures import graph
    from privzoo.export.manifests import model_sha256

    if model.card.own_head:
        return _own_view(model, cache)
    cut, trunk = model.config.cut, architectures.trunk(model.network.name)
    to_cut, rest = graph.split(model.head, cut)
    between = graph.after(model.head, trunk, cut)

    def at_cut(faces: Faces) -> Features:
        def compute(output: np.ndarray) -> None:
            images = activations.whole_chips(faces.chips, model.card.network.input_size)
            kept, _ = activations.trunk(model.network, images, cache)
            _run(between, kept.values, output)
            if not np.allclose(to_cut(images.batch(0), training=False), output[:BATCH], rtol=1e-3, atol=1e-3):
                raise ConfigError(f"The head of {model.name} does not continue its network's first layers.")

        shape = (len(faces.chips), *to_cut.output_shape[1:])
        return _kept(_key(to_cut, faces), shape, compute, cache, faces, model.name)

    def extract(faces: Faces) -> Features:
        activation = at_cut(faces)
        if not graph.layers(rest):
            return activation
        shape = (len(faces.chips), *model.head.output_shape[1:])
        return _kept(
            _key(model.head, faces),
            shape,
            lambda output: _run(rest, activation.read(), output),
            cache,
            faces,
            model.name,
        )

    return View(FLOAT, model_sha256(model.head), extract)


def _own_view(model: SplitModel, cache: Path) -> View:
    """A float head that shares no layer with its network."""
    from privzoo import activations
    from privzoo.export.manifests import model_sha256

    def extract(faces: Faces) -> Features:
        def compute(output: np.ndarray) -> None:
            images = activations.whole_chips(faces.chips, model.card.network.input_size)
            for index in range(-(-len(output) // activations.BATCH)):
                activations.part(output, index)[:] = model.head(images.batch(index), training=False)

        shape = (len(faces.chips), *model.head.output_shape[1:])
        return _kept(_key(model.head, faces), shape, compute, cache, faces, model.name)

    return View(FLOAT, model_sha256(model.head), extract)


def _run(layers: keras.Model, values: np.ndarray, output: np.ndarray) -> None:
    for i in range(0, len(output), BATCH):
        output[i : i + BATCH] = layers(np.asarray(values[i : i + BATCH]), training=False)


def _key(head: keras.Model, faces: Faces | None = None, **facts: Any) -> str:
    """Hash of a head's layers and weights, of faces, and of further facts; models that share a head share it."""
    import keras

    from privzoo import activations
    from privzoo.architectures import graph
    from privzoo.export.manifests import model_sha256

    # Weights alone do not tell: a feature's scaling and rounding are in the layers.
    described = [[type(layer).__name__, layer.get_config()] for layer in graph.layers(head)]
    structure = keras.saving.serialize_keras_object(described)
    chips = {} if faces is None else {"chips": faces.chips}
    return activations.key(structure=structure, sha256=model_sha256(head), **chips, **facts)


def deployed_view(model: SplitModel, quantization: str, cache: Path, heads: Path | None = None) -> View:
    """A model's head as exported, on LiteRT.

    Args:
        model: whose head it is.
        quantization: of the head.
        cache: where the file is kept, exported once for all models that share it.
        heads: folder with exported heads, to use instead of exporting, if it has the model's.
    """
    from privzoo import activations
    from privzoo.edge.unprotected import UnprotectedHead
    from privzoo.export import released

    path = heads and released.find(model, quantization, heads)
    if path is None:
        path = cache / f"head_{_key(model.head, quantization=quantization)}.tflite"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            model.export_head(path, quantization)
    head = UnprotectedHead(path, threads=2)  # attacks draw the noise
    sha256 = head.manifest["head"]["sha256"]

    def extract(faces: Faces) -> Features:
        rounded = bool(head.manifest["feature"].get("rounded"))
        key = activations.key(sha256=sha256, rounded=rounded, chips=faces.chips)

        def compute(output: np.ndarray) -> None:
            for i in range(0, len(output), BATCH):
                output[i : i + BATCH] = head.features(faces.chips[i : i + BATCH])

        return _kept(key, (len(faces.chips), *head.feature_shape), compute, cache, faces, model.name)

    return View(f"{quantization} TFLite head", sha256, extract)


def _kept(
    key: str, shape: tuple[int, ...], compute: Callable[[np.ndarray], None], cache: Path, faces: Faces, model: str
) -> Features:
    path = cache / f"features_{key}.npy"
    if not path.exists():
        with replacing(path) as temporary:
            output = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            compute(output)
            for i in range(0, len(output), BATCH):
                if not np.isfinite(output[i : i + BATCH]).all():
                    raise FeatureError(
                        f"The head of {model} gives NaN or infinity for {faces.name}; its weights are unusable."
                    )
            output.flush()
    return Features(path, key)


def keep(facts: dict[str, Any], make: Callable[[], np.ndarray], cache: Path) -> Features:
    """Keeps an array on disk under the hash of the facts that decide it; creates it if missing."""
    from privzoo import activations

    key = activations.key(**facts)
    path = cache / f"features_{key}.npy"
    if not path.exists():
        write_array(path, np.ascontiguousarray(make(), np.float32))
    return Features(path, key)


def stored(values: np.ndarray, cache: Path) -> Features:
    """Keeps an array as features, for example the class probabilities of a floor."""
    return keep({"values": values}, lambda: values, cache)
