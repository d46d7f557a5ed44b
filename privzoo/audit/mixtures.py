"""What the cloud sees of DataMix's requests (protocol 11): whole requests, groups shuffled, under `attacks.unmixing`.

Each `Setting` is one row of the table: how the device mixes, and what the attacker has. Requests are mixed by
`privzoo.mechanisms.mixing`, as devices do, but from recorded seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.audit.attacks import matching, regrouping, unmixing
from privzoo.audit.features import Faces, Features, keep, read
from privzoo.audit.runner import Cell
from privzoo.data import lfw
from privzoo.errors import DataError
from privzoo.evaluation import intervals
from privzoo.evaluation.intervals import Estimate
from privzoo.mechanisms import mixing
from privzoo.mechanisms.gaussian import Gaussian

if TYPE_CHECKING:
    from privzoo.config import NetworkConfig

SIDE = 96  # pixels of a face chip
RECOVERED = 0.9  # correlation with the original above which an image counts as recovered
SIZES = (2, 4, 8, 16)
SIZE = 8  # the papers' group
OWN = 256  # faces of other people that the attacker has
OWN_DEEP = 96  # of which activations are kept, which are larger
CHUNK = 5  # requests of one cell
WHITE, PHASES = "white noise", "faces of random phases"


@dataclass(frozen=True)
class Setting:
    """How a device mixes, and what the attacker has."""

    name: str  # in the table
    part: str  # of the table: "size", "groups" or "protection"
    size: int = SIZE  # of a group
    groups: int = 1  # of a request, whose mixtures leave in one shuffled order
    coefficients: mixing.Coefficients = "orthogonal"
    noise: float = 0.0  # deviation of the white noise on each mixture, as a share of the mixture's own
    shields: int = 0  # of a group's images that are no faces
    shield: str = WHITE  # what they are
    encoding: str = "float32"  # of the mixtures on the wire
    own: bool = True  # whether the attacker has faces of other people
    blocks: int = 0  # of the network that the device runs before it mixes; 0: pixels are mixed
    requests: int = 1  # that are scored, each with a key of its own

    @property
    def faces(self) -> int:
        """Faces in a request."""
        return self.groups * (self.size - self.shields)


def settings(blocks: Sequence[int], requests: int, tries: int) -> list[Setting]:
    """All rows of the table.

    Args:
        blocks: of the network before mixing; the protections are tried on pixels, without any.
        requests: for each size of group, of which the goal is asked.
        tries: requests for each protection; fewer of those that have many groups.
    """
    rows = [Setting("", "size", size, blocks=b, requests=requests) for b in blocks for size in SIZES]
    rows += [
        Setting(f"{groups} groups shuffled", "groups", groups=groups, requests=max(2, 6 * tries // groups))
        for groups in (4, 16, 64)
    ]
    protected: list[tuple[str, dict[str, Any]]] = [
        ("nothing else", {}),
        ("nothing else, against an attacker without faces", {"own": False}),
        ("groups of 16", {"size": 16}),
        ("groups of 32", {"size": 32}),
        ("Gaussian coefficients", {"coefficients": "gaussian"}),
        ("Dirichlet coefficients", {"coefficients": "dirichlet"}),
        *((f"{encoding} mixtures", {"encoding": encoding}) for encoding in mixing.ENCODINGS),
        *((f"{count} of 8 images {WHITE}", {"shields": count}) for count in (1, 4, 7)),
        *((f"{count} of 8 images {PHASES}", {"shields": count, "shield": PHASES}) for count in (1, 4, 7)),
        *((f"noise of {share:g} on mixtures", {"noise": share}) for share in (0.1, 0.2, 0.5, 1.0, 2.0)),
        ("noise of 1 on mixtures, groups of 16", {"noise": 1.0, "size": 16}),
    ]
    rows += [Setting(name, "protection", requests=tries, **given) for name, given in protected]
    return rows


@dataclass(frozen=True)
class Pool:
    """Faces of people of whom each is there once: those that are sent, and the attacker's own."""

    sent: Faces
    own: Faces

    def part(self, count: int) -> Pool:
        """The first faces that are sent, for what takes longer."""
        labels = {name: values[:count] for name, values in self.sent.labels.items()}
        return Pool(Faces(self.sent.name, self.sent.chips[:count], labels, self.sent.ids[:count]), self.own)


def pool(root: str | Path, count: int, seed: int) -> Pool:
    """One photograph each of LFW's people, in an order drawn from a seed.

    Args:
        root: folder of the data sets.
        count: of people whose faces are sent.
        seed: of the order.

    Raises:
        DataError: LFW is missing or has fewer people.
    """
    first = {sample.person: sample for sample in reversed(lfw.load(root, gender=False).samples)}
    samples = [first[person] for person in sorted(first)]
    if len(samples) < count + OWN:
        raise DataError(f"{root} shows {len(samples)} people and {count + OWN} are wanted: use the whole LFW.")
    chosen = [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))[: count + OWN]]
    return Pool(read(chosen[:count], "lfw, sent", SIDE), read(chosen[count:], "lfw, the attacker's", SIDE))


def features(faces: Faces, blocks: int, network: NetworkConfig, cache: Path) -> Features:
    """What a device mixes of faces, kept on disk: grey pixels 0..255, or a network's first activations.

    Args:
        faces: chips of `SIDE` pixels.
        blocks: of convolution; 0: pixels.
        network: a released one.
        cache: folder.

    Returns:
        float (N, H, W, C).
    """
    if not blocks:
        facts = {"kind": "grey", "chips": faces.chips}
        return keep(facts, lambda: faces.chips.astype(np.float32).mean(axis=3, keepdims=True), cache)
    from privzoo import activations, zoo
    from privzoo.architectures import graph

    pre, _, _ = graph.split3(zoo.load_network(network), blocks)
    kept = activations.compute(pre, activations.whole_chips(faces.chips, network.input_size), cache, np.float16)
    assert isinstance(kept.values, np.memmap) and kept.values.filename, "activations are mapped from disk"
    return Features(Path(kept.values.filename), kept.source.key)


def cells(rows: Iterable[Setting], sides: dict[int, tuple[Features, Features]], seed: int) -> list[list[Cell]]:
    """The cells of each row.

    Args:
        rows: of `settings`.
        sides: by blocks, features of the faces that are sent and of the attacker's own.
        seed: of all draws.
    """
    made = []
    for row in rows:
        sent, own = sides[row.blocks]
        # What a row is called, and how many requests it has in all, decides no request.
        how = {k: v for k, v in dataclasses.asdict(row).items() if k not in ("name", "part", "requests")}
        made.append(
            [
                Cell(
                    attack,
                    {
                        "setting": how,
                        "attack": unmixing.VERSION,
                        "seed": seed,
                        "sent": sent.key,
                        "known": own.key,
                        "first": first,
                        "count": count,
                    },
                    {"sent": sent.path, "known": own.path},
                )
                for first in range(0, row.requests, CHUNK)
                for count in [min(CHUNK, row.requests - first)]
            ]
        )
    return made


def attack(how: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """One cell: some requests are mixed and unmixed.

    Returns:
        Lists of the requests: for each face its correlation with what was recovered, with what is recovered beyond the
        attacker's mean face, and with the mixtures as they arrive; groups that were found; an epsilon.
    """
    images = np.load(inputs["sent"], mmap_mode="r")
    row = Setting("", "", **how["setting"])
    known = learnt(inputs["known"], OWN_DEEP if row.blocks else OWN)
    found: dict[str, list] = {name: [] for name in ("recovered", "beyond", "untouched", "groups", "epsilon")}
    for request in range(how["first"], how["first"] + how["count"]):
        rng = np.random.default_rng([how["seed"], row.size, row.groups, request])
        faces, originals = draw(row, images, rng, request)
        mixtures, truth, epsilon = send(row, originals, rng)
        scored = originals[faces]
        recovered, labels = regrouping.unmix_request(
            mixtures, row.size, known if row.own else None, orthogonal=row.coefficients == "orthogonal"
        )
        recovered = matching.denoised(recovered)
        found["recovered"].append(_short(matching.correlations(recovered, scored)))
        found["beyond"].append(_short(matching.correlations(*(_beyond(x, known) for x in (recovered, scored)))))
        found["untouched"].append(_short(matching.correlations(mixtures, scored)))
        found["groups"].append([len(set(labels[truth == group])) == 1 for group in range(row.groups)])
        found["epsilon"].append(epsilon)
    return found


def draw(row: Setting, images: np.ndarray, rng: np.random.Generator, request: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of one request: where its faces are among them, bool (n,), and all of them, float32 (n, H, W, C).

    Args:
        row: the setting.
        images: faces (N, H, W, C), of which each request takes the next ones.
        rng: of the shields and their places.
        request: its number.
    """
    chosen = np.arange(request * row.faces, (request + 1) * row.faces) % len(images)
    if row.faces > len(images):
        raise DataError(f"A request of {row.faces} faces needs as many different ones, and there are {len(images)}.")
    faces = images[np.sort(chosen)].astype(np.float32)
    if not row.shields:
        return np.ones(len(faces), bool), faces
    count = row.groups * row.shields
    models = faces[rng.integers(len(faces), size=count)]
    noise = rng.normal(size=models.shape)
    if row.shield == PHASES:  # as a face is seen from afar: its spectrum, and nothing at its place
        spectrum = np.abs(np.fft.fft2(models - models.mean(axis=(1, 2), keepdims=True), axes=(1, 2)))
        turned = np.fft.fft2(noise, axes=(1, 2))
        noise = np.fft.ifft2(spectrum * turned / np.maximum(np.abs(turned), 1e-12), axes=(1, 2)).real
    spread = models.std(axis=(1, 2, 3), keepdims=True) / noise.std(axis=(1, 2, 3), keepdims=True)
    shields = models.mean(axis=(1, 2, 3), keepdims=True) + spread * noise
    per = row.size - row.shields
    parts = [
        np.concatenate([faces[g * per : (g + 1) * per], shields[g * row.shields : (g + 1) * row.shields]])
        for g in range(row.groups)
    ]
    is_face = np.tile(np.arange(row.size) < per, row.groups)
    return is_face, np.concatenate(parts).astype(np.float32)


def send(row: Setting, originals: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float | None]:
    """What arrives of a request.

    Args:
        row: the setting.
        originals: images group by group, float32 (n, H, W, C).
        rng: of coefficients, order and noise.

    Returns:
        The mixtures, likewise; the group of each, int (n,), which nobody tells the attacker; and the epsilon that the
        noise keeps of faces that are no farther from their mean than these, or None without noise.
    """
    source = random.Random(int(rng.integers(2**62)))
    order = rng.permutation(len(originals))
    coefficients = np.stack([mixing.draw(row.size, row.coefficients, source) for _ in range(row.groups)])
    mixtures = mixing.Key(coefficients, order).mix(originals)
    epsilon = None
    if row.noise:
        sigmas = row.noise * mixtures.std(axis=(1, 2, 3), keepdims=True)
        far = np.linalg.norm((originals - originals.mean(axis=0)).reshape(len(originals), -1), axis=1).max()
        epsilon = Gaussian(float(sigmas.min()), float(far)).epsilon()
        mixtures = (mixtures + sigmas * rng.normal(size=mixtures.shape)).astype(np.float32)
    if row.encoding != "float32":
        mixtures = mixing.unpack(mixing.pack(mixtures, row.encoding), row.encoding, mixtures.shape[1:])
    return mixtures, order // row.size, epsilon


def figure(row: Setting, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of figures: shares in 0..1 with their intervals over requests.

    Args:
        row: the setting.
        results: of its cells, in their order.
    """
    together: dict[str, list] = {name: sum((result[name] for result in results), []) for name in results[0]}
    requests = np.repeat(np.arange(len(together["recovered"])), row.faces)
    found: dict[str, Any] = {**dataclasses.asdict(row), "faces": len(requests)}
    for name in ("recovered", "beyond", "untouched"):
        values = np.concatenate([np.array(one) for one in together[name]])
        found |= _named(name, intervals.share(values > RECOVERED, requests))
        found[f"{name}_median"] = float(np.median(values))
    if row.groups > 1:
        whole = np.concatenate([np.array(one, bool) for one in together["groups"]])
        found |= _named(
            "groups_found", intervals.share(whole, np.repeat(np.arange(len(together["groups"])), row.groups))
        )
    budgets = [one for one in together["epsilon"] if one is not None]
    found["epsilon"] = float(np.median(budgets)) if budgets else None
    return found


def estimate(found: dict[str, Any], name: str) -> Estimate:
    """A figure of a row of `figure`."""
    return Estimate(found[name], found[f"{name}_low"], found[f"{name}_high"], found["faces"], found["requests"])


def _named(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _short(values: np.ndarray) -> list[float]:
    return np.round(values, 5).tolist()


def _beyond(images: np.ndarray, known: unmixing.Known) -> np.ndarray:
    """Images without their part in the attacker's mean image: what is left is their own."""
    rows, usual = images.reshape(len(images), -1), known.mean.reshape(-1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    usual = (usual - usual.mean()) / np.linalg.norm(usual - usual.mean())
    return rows - np.outer(rows @ usual, usual)


@functools.lru_cache(maxsize=2)
def learnt(path: Path, count: int) -> unmixing.Known:
    """What an attacker has learnt from the first images of a file of features; once for each process."""
    return unmixing.learn(np.load(path, mmap_mode="r")[:count].astype(np.float32))
