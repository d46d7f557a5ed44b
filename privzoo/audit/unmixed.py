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
from privzoo.audit import mixtures, raw_pixels
from privzoo.audit.attacks import descriptor, identity, matching, unmixing
from privzoo.audit.features import Faces, keep, lfw100, lfw_background
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
    train, test = lfw100(root, mixtures.SIDE)
    others = lfw_background(root, mixtures.SIDE, OTHERS)
    found = []
    for count in blocks:
        pictures, alike = recover(test, others, count, network, cache, seed)
        shown = Faces("unmixed", np.repeat(pictures[..., None], 3, axis=3), test.labels, test.ids)
        people = np.unique(test.labels["identity"], return_inverse=True)[1]
        tables = {f"identity, {name}": table for name, table in named(train, test, shown, others, cache).items()}
        if network.task in test.labels:
            tables[f"{network.task}, {network.name}"] = answered(test, shown.chips, network)
        for judge, (raw, unmixed) in tables.items():
            row = {"blocks": count, "judge": judge, "photographs": len(people), "seed": seed}
            row |= {"recovered": float((alike > mixtures.RECOVERED).mean()), "median": float(np.median(alike))}
            by_person = [intervals.by_person(np.atleast_2d(table), people) for table in (raw, unmixed)]
            for name, one in (
                ("raw", intervals.share(by_person[0])),
                ("unmixed", intervals.share(by_person[1])),
                ("lost", intervals.difference(*by_person)),
            ):
                row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
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


def named(
    train: Faces, test: Faces, shown: Faces, others: Faces, cache: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Whether attackers name the people of the originals and of the unmixed images.

    Args:
        train: photographs that the attackers have learnt.
        test: the originals.
        shown: what was unmixed of them, with their labels.
        others: of other people.
        cache: folder for what attackers see of them.

    Returns:
        Attacker -> hits on the originals and on the unmixed, (seeds, N) each. dlib's recogniser only where installed.
    """
    look = raw_pixels.view("both", cache)
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
    hits = result.outcomes[0].top1
    found = {f"{ATTACKER} on pixels and gradients": (hits[:, : len(test.ids)], hits[:, len(test.ids) :])}
    if descriptor.installed():
        recogniser = raw_pixels.recogniser_view(cache)
        known, *judged = (np.asarray(recogniser.extract(one).read()) for one in (train, test, shown))
        people, labels = np.unique(train.labels["identity"], return_inverse=True)
        truth = np.searchsorted(people, test.labels["identity"])
        raw, unmixed = (raw_pixels.named((known, labels), (one, truth))["nearest mean"] for one in judged)
        found[descriptor.NAME] = (raw[None].astype(float), unmixed[None].astype(float))
    return found


def answered(test: Faces, shown: np.ndarray, network: NetworkConfig) -> tuple[np.ndarray, np.ndarray]:
    """Whether a network answers its task rightly on the originals and on the unmixed images, (1, N) each."""
    from privzoo import zoo

    model, truth = zoo.load_network(network), test.labels[network.task]
    sides = []
    for chips in (test.chips, shown):
        images = np.stack([faces.resize(chip, network.input_size) for chip in chips]).astype(np.float32)
        answers = model.predict(images, batch_size=64, verbose=0).argmax(axis=1)
        sides.append((answers == truth).astype(float)[None])
    return sides[0], sides[1]


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
