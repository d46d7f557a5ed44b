"""What `tools/codes.py` measures on: test faces through an exported head, codes fitted now, noise beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privzoo.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from privzoo.mechanisms.codebook import Codebook
    from privzoo.model import SplitModel
    from privzoo.training.codes import Fitted


@dataclass(frozen=True)
class Faces:
    """A task's test faces, as the cloud would get them without any mechanism."""

    name: str  # of the data
    features: np.ndarray  # float32 (N, d), the int8 head's
    head: str  # its SHA-256
    labels: np.ndarray  # primary class, int (N,)
    network: np.ndarray  # the whole network's own labels, int (N,)
    people: np.ndarray | None  # person of each, if known

    @property
    def network_accuracy(self) -> float:
        """Share that the whole network gets right without privacy."""
        return float(np.mean(self.network == self.labels))


def faces(model: SplitModel, data_dir: str, cache: Path, heads: Path | None) -> Faces:
    """Reads a model's test faces and runs its exported head on them.

    Args:
        model: with a reduced feature.
        data_dir: folder with the data sets.
        cache: folder for what is computed once.
        heads: folder with exported heads; None, or without this one: it is exported now.
    """
    from privzoo.data import arrays, splits
    from privzoo.evaluation.deployed import head_features
    from privzoo.export import released
    from privzoo.training.release import whole_answers

    test = splits.test_set(model.card.network, data_dir)
    chips, known = arrays(test, model.card.network.input_size)
    with tempfile.TemporaryDirectory(prefix="privzoo-") as folder:
        path = heads and released.find(model, "int8", heads)
        features, digest = head_features(path or model.export_head(Path(folder) / "head.tflite"), chips, cache)
    own = whole_answers(model.network, chips, model.card.network.input_size, cache).argmax(1)
    return Faces(test.name, features, digest, known[model.card.network.task], own, known.get("identity"))


def fitted_now(
    model: SplitModel, sizes: Sequence[int | None], epsilon: float, data_dir: str, cache: Path, count: int
) -> Iterator[Fitted]:
    """Codes on a model's reduced feature, one for each number of symbols, fitted on training faces.

    Args:
        model: with a reduced feature.
        sizes: numbers of symbols; None: the best on the training faces.
        epsilon: budget that the codes are fitted for.
        data_dir: folder with the data sets.
        cache: folder for activations.
        count: of training faces, evenly spaced, each changed at random as in training.
    """
    from privzoo.data import splits
    from privzoo.training import codes, fitting, reduction

    config, network = model.config, model.card.network
    train = splits.take(splits.of_network(network, data_dir)[0], count)
    activations, classes = fitting.cut_features(network, model.network, [config.cut], train, cache, True)
    kernel, bias = (np.asarray(weight, np.float64) for weight in _reduction(model))
    reduced = reduction.mapped(activations[config.cut], reduction.Linear(kernel.reshape(-1, len(bias)), bias))
    for size in sizes:
        yield codes.fit(reduced, classes, epsilon, size)


def _reduction(model: SplitModel) -> list[np.ndarray]:
    return model.head.get_layer("reduce").get_weights()


def noisy(model: SplitModel) -> tuple[SplitModel, bool]:
    """The model of the zoo whose Gaussian noise is to be compared with a code.

    Args:
        model: the coded one.

    Returns:
        A model with noise on as many numbers from the same network and cut, and whether they are the very same feature;
        the code's base or another with its reduction is preferred.

    Raises:
        ConfigError: the zoo has none.
    """
    import privzoo
    from privzoo import config

    def like(name: str) -> bool:
        one, own = config.model(name), model.config
        alike = (one.network, one.cut, one.dimensions) == (own.network, own.cut, own.dimensions)
        return alike and one.noise is not None

    names = list(filter(like, privzoo.list_models()))
    if not names:
        raise ConfigError(f"No model of the zoo puts noise on a feature like that of {model.name}; release one first.")
    found = [privzoo.load(name) for name in names]
    same = [all(map(np.array_equal, _reduction(model), _reduction(one))) for one in found]
    best = int(np.argmax(same))
    return found[best], same[best]


def rows_of(book: Codebook, tail: keras.Model, on: Faces, budgets: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Figures of one code at each budget, with what bounds any attacker, as plain data.

    Args:
        book: of the code.
        tail: `symbol` and `epsilon` -> probabilities.
        on: the test faces.
        budgets: epsilons.
    """
    import dataclasses

    from privzoo.embeddings import coded
    from privzoo.evaluation.coded import measure
    from privzoo.mechanisms.bounds import QUERIES, bounds
    from privzoo.mechanisms.randomized_response import RandomizedResponse

    def answer(symbols: np.ndarray, epsilon: float) -> np.ndarray:
        return tail({coded.SYMBOL: symbols, coded.EPSILON: np.full(len(symbols), epsilon, np.float32)})

    symbols = book.encode(on.features)
    for found in measure(answer, book.k, symbols, on.labels, on.network, budgets, people=on.people):
        limits = [bounds(RandomizedResponse(book.k, found.epsilon), queries) for queries in QUERIES]
        top1 = {str(limit.queries): round(limit.top1(), 6) for limit in limits}
        rows = [{"queries": limit.queries, **dict(limit.rows())} for limit in limits]
        print(
            f"k={book.k} epsilon {found.epsilon:g}: {found.accuracy:.2%} ({found.low:.2%} to {found.high:.2%}; draws "
            f"{found.lowest:.2%} to {found.highest:.2%}), {found.share_of_ceiling:.2%} ({found.share_low:.2%} to "
            f"{found.share_high:.2%}) of the ceiling {found.ceiling:.2%}, calibration error "
            f"{found.calibration_error:.2%}; any attacker's top-1 of 100 people: {limits[0].top1():.2%}",
            flush=True,
        )
        yield {**dataclasses.asdict(found), "top1": top1, "bounds": rows}
