"""What the images that come back from DataMix's mixtures still say: who it is, and the gender, beside raw pixels.

The faces are those of protocol 3. Every photograph that is scored is sent once, in a group of eight with a key of its
own, and unmixed. After blocks of a network, activations are unmixed and a decoder makes images of them. The attackers
have learnt from raw photographs, and judge the originals and the unmixed images alike: their difference is what mixing
protects. Which recovered image belongs to which photograph is looked up, since it only decides how hits are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo import faces
from privzoo.audit import mixtures, raw_pixels, runner
from privzoo.audit.attacks import descriptor, identity, matching, unmixing
from privzoo.audit.features import Faces, keep, lfw100, lfw_background
from privzoo.audit.runner import Cell
from privzoo.config import given
from privzoo.evaluation import intervals
from privzoo.mechanisms import mixing

if TYPE_CHECKING:
    from privzoo.config import NetworkConfig

ATTACKER = "lda"  # the best one on raw pixels with gradients; see docs/audit/raw_pixels.json
LEARNT = 500  # faces of other people that the decoder learns from
OTHERS = 3000  # faces of other people on which attackers learn what differs between people


def measure(
    root: str | Path, blocks: Sequence[int], network: NetworkConfig, cache: Path, seed: int
) -> list[dict[str, Any]]:
    """Figures of each judge, on the originals and on what was unmixed of them.

    Args:
        root: folder of the data sets.
        blocks: of the network before mixing; 0: pixels are mixed.
        network: a released one, which also judges the gender.
        cache: folder for features and recovered images.
        seed: of groups and coefficients.

    Returns:
        For each number of blocks and judge a row with the shares `raw` and `unmixed`, and `lost`, their difference,
        each with the ends of its interval over people.
    """
    from privzoo import activations

    train, test = lfw100(root, mixtures.SIDE)
    others = lfw_background(root, mixtures.SIDE, OTHERS)
    people = np.unique(test.labels["identity"], return_inverse=True)[1]
    judges = {f"identity, {ATTACKER} on pixels and gradients": named}
    if descriptor.installed():
        judges[f"identity, {descriptor.NAME}"] = recognised
    if network.task in test.labels:
        judges[f"{network.task}, {network.name}"] = answered
    found = []
    for count in blocks:
        pictures, alike = recover(test, others, count, network, cache, seed)
        shown = Faces("unmixed", np.repeat(pictures[..., None], 3, axis=3), test.labels, test.ids)
        inputs = {"train": train, "test": test, "shown": shown, "others": others, "network": network, "cache": cache}
        keys = {
            "train": train.key,
            "test": test.key,
            "others": others.key,
            "weights": given(network.weights, f"{network.name} has no weights").sha256,
        }
        keys["shown"] = activations.key(chips=shown.chips)
        cells = [Cell(judge, {**keys, "judge": name}, inputs) for name, judge in judges.items()]
        for name, result in zip(judges, runner.run(cells, cache, progress=False), strict=True):
            row = {
                "blocks": count,
                "judge": name,
                "photographs": len(people),
                "people": int(people.max()) + 1,
                "seed": seed,
            }
            row |= {"recovered": float((alike > mixtures.RECOVERED).mean()), "median": float(np.median(alike))}
            raw, unmixed = (intervals.by_person(np.array(result[side]), people) for side in ("raw", "unmixed"))
            for part, one in (
                ("raw", intervals.share(raw)),
                ("unmixed", intervals.share(unmixed)),
                ("lost", intervals.difference(raw, unmixed)),
            ):
                row |= {part: one.value, f"{part}_low": one.low, f"{part}_high": one.high}
            found.append(row)
    return found


def recover(
    test: Faces, others: Faces, blocks: int, network: NetworkConfig, cache: Path, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sends photographs in groups, and recovers them from the mixtures.

    Args:
        test: the photographs, of `mixtures.SIDE` pixels.
        others: the attacker's own.
        blocks, network, cache, seed: as for `measure`.

    Returns:
        Grey images uint8 (N, SIDE, SIDE), in the order of the photographs, and the correlation of what was unmixed with
        what was mixed, float (N,).
    """
    part = Faces(others.name, others.chips[:LEARNT], {}, others.ids[:LEARNT])
    sent, own = (mixtures.features(one, blocks, network, cache) for one in (test, part))

    def compute() -> np.ndarray:
        images, learnt = sent.read(), own.read()
        known = mixtures.learnt(own.path, mixtures.OWN_DEEP if blocks else mixtures.OWN)
        decode = _decoder(np.asarray(learnt), part.chips, seed) if blocks else _pixels
        found = np.empty((len(images), mixtures.SIDE**2 + 1), np.float32)
        order = np.random.default_rng(seed).permutation(len(images))
        row = mixtures.Setting("", "")
        for first in range(0, len(order), row.size):
            # The last group is filled with photographs of the first, which were scored there.
            group = np.take(order, range(first, first + row.size), mode="wrap")
            originals = np.stack([images[i] for i in group]).astype(np.float32)
            mixed, _, _ = mixtures.send(row, originals, np.random.default_rng([seed, first]))
            result = unmixing.unmix(mixed, known)
            partners, alike = matching.paired(result.images, originals)
            scored = group[: len(order) - first]
            found[scored, 1:] = decode(result.images[partners])[: len(scored)].reshape(len(scored), -1)
            found[scored, 0] = alike[: len(scored)]
        return found

    facts = {"kind": "unmixed", "attack": unmixing.VERSION, "sent": sent.key, "own": own.key, "seed": seed}
    kept = np.asarray(keep({**facts, "coefficients": mixing.KINDS[0]}, compute, cache).read())
    return kept[:, 1:].reshape(-1, mixtures.SIDE, mixtures.SIDE).round().astype(np.uint8), kept[:, 0]


def named(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Whether the attacker of protocol 3 names the people of the originals and of the unmixed images.

    Args:
        settings: what decides the result.
        inputs: `train`, photographs that attackers have learnt; `test`, the originals; `shown`, what was unmixed of
            them, with their labels; `others`, of other people; `cache`, for what attackers see of them.

    Returns:
        Hits on the originals, `raw`, and on the `unmixed`: (seeds, N) each.
    """
    train, test, shown, others = (inputs[name] for name in ("train", "test", "shown", "others"))
    look = raw_pixels.view("both", inputs["cache"])
    sides = [look.extract(_small(one)).read() for one in (train, train.mirrored(), test, shown, others)]
    result = identity.attack(
        np.concatenate(sides[:2]),
        np.tile(train.labels["identity"], 2),
        np.concatenate(sides[2:4]),
        np.tile(test.labels["identity"], 2),
        attackers=(ATTACKER,),
        train_ids=list(train.ids) * 2,
        test_ids=list(test.ids) * 2,
        background=(sides[4], others.labels["identity"]),
    )
    hits = np.round(result.outcomes[0].top1, 6)
    return {"raw": hits[:, : len(test.ids)].tolist(), "unmixed": hits[:, len(test.ids) :].tolist()}


def recognised(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """As `named`, by dlib's recogniser and the nearest mean of a person's photographs."""
    recogniser = raw_pixels.recogniser_view(inputs["cache"])
    train, test = inputs["train"], inputs["test"]
    known, *judged = (np.asarray(recogniser.extract(one).read()) for one in (train, test, inputs["shown"]))
    people, labels = np.unique(train.labels["identity"], return_inverse=True)
    truth = np.searchsorted(people, test.labels["identity"])
    raw, unmixed = (raw_pixels.named((known, labels), (one, truth))["nearest mean"] for one in judged)
    return {"raw": [raw.astype(float).tolist()], "unmixed": [unmixed.astype(float).tolist()]}


def answered(settings: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """As `named`, for whether the network answers its own task rightly."""
    from privzoo import zoo

    network, test = inputs["network"], inputs["test"]
    model, found = zoo.load_network(network), []
    for chips in (test.chips, inputs["shown"].chips):
        images = np.stack([faces.resize(chip, network.input_size) for chip in chips]).astype(np.float32)
        answers = model.predict(images, batch_size=64, verbose=0).argmax(axis=1)
        found.append([(answers == test.labels[network.task]).astype(float).tolist()])
    return {"raw": found[0], "unmixed": found[1]}


def _small(given: Faces) -> Faces:
    """Faces at the size at which attackers look at pixels."""
    chips = np.stack([faces.resize(chip, raw_pixels.SIDE) for chip in given.chips])
    return Faces(given.name, chips, given.labels, given.ids)


def _pixels(images: np.ndarray) -> np.ndarray:
    """Grey pixels as they were unmixed: orthogonal coefficients leave brightness and contrast as they were."""
    return images[..., 0].clip(0, 255)


def _decoder(activations: np.ndarray, chips: np.ndarray, seed: int) -> Any:
    from privzoo.audit.attacks import decoders

    settings = decoders.Settings(side=mixtures.SIDE, faces=LEARNT, epochs=4, width=16)
    return decoders.train(activations, chips, None, seed, settings)
