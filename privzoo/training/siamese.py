"""The recipe for a Siamese network: its parent, fine-tuned on pairs at a cut (Osia et al. 2017, III.A, equation 1).

Both branches share all weights, so that a batch holds the first faces and then their partners. The layers before
`trained_from` stay fixed: their outputs for some augmented copies of each chip are computed once and kept on disk, and
an epoch only runs the rest of the network.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from privzoo import activations, weights
from privzoo import config as configs
from privzoo.architectures import check_cut, graph
from privzoo.config import NetworkConfig, SiameseConfig, Stage
from privzoo.data import Dataset, arrays
from privzoo.errors import ConfigError, DataError
from privzoo.training import losses, record
from privzoo.training.augment import augmented_chips
from privzoo.training.batches import steps
from privzoo.training.checkpoint import Checkpoint, fit
from privzoo.training.opening import check_labels
from privzoo.training.pairs import Pairs
from privzoo.training.schedule import optimizer


class PairBatches(keras.utils.PyDataset):
    """Batches of pairs from stored activations; they depend only on seed and epoch, so a resumed run repeats them.

    Args:
        copies: activations of each augmented version of the data set, each (N, ...).
        classes: primary class of each face, int (N,).
        pairs: draws the partners.
        similar: share of similar pairs.
        names: of the losses at the cut.
        batch_size: faces per batch, two for each pair.
        fixed: every face once, the same pairs always: for validation. Otherwise each epoch draws as many new pairs as
            there are faces for two, and leaves out the remainder.
    """

    def __init__(
        self,
        copies: list[np.ndarray],
        classes: np.ndarray,
        pairs: Pairs,
        similar: float,
        names: list[str],
        batch_size: int,
        fixed: bool = False,
    ):
        super().__init__(workers=2)  # as in TrainingBatches
        self.copies, self.classes, self.pairs, self.similar, self.names = copies, classes, pairs, similar, names
        self.size, self.fixed = max(1, batch_size // 2), fixed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draws the pairs of an epoch, counted from 0."""
        self.epoch = epoch
        count, rng = len(self.classes), np.random.default_rng((self.pairs.seed, self.epoch))
        first = np.arange(count) if self.fixed else rng.permutation(count)[: count // 2]
        self.size = min(self.size, len(first))
        second, self.same = self.pairs.draw(first, self.similar, self.epoch)
        self.faces = np.stack([first, second])
        self.versions = rng.integers(len(self.copies), size=self.faces.shape)

    def __len__(self) -> int:
        """Batches in an epoch."""
        count = self.faces.shape[1]
        return -(-count // self.size) if self.fixed else steps(count, self.size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Batch `index` of the current epoch: activations, and the target of each output."""
        chosen = slice(index * self.size, (index + 1) * self.size)
        chips, versions = self.faces[:, chosen].ravel(), self.versions[:, chosen].ravel()
        x = np.stack([self.copies[v][i] for v, i in zip(versions, chips, strict=True)]).astype(np.float32)
        target = np.stack([np.tile(self.same[chosen], 2), self.classes[chips]], axis=1).astype(np.float32)
        return x, {"fc8": self.classes[chips], **dict.fromkeys(self.names, target)}

    def on_epoch_end(self) -> None:
        """Draws new pairs."""
        if not self.fixed:
            self.start(self.epoch + 1)


Parent = tuple[NetworkConfig, dict[str, np.ndarray]]  # with its weights


def check(config: NetworkConfig, given: Parent | None = None) -> tuple[SiameseConfig, NetworkConfig]:
    """Settings and parent of a network; raises ConfigError for what this recipe cannot do."""
    training, siamese = config.training, _settings(config)
    check_cut(config.architecture, siamese.cut)
    if not config.parent:
        raise ConfigError(f"{config.name} is fine-tuned on pairs, but has no parent; give the network to start from.")
    parent = given[0] if given else configs.network(config.parent)
    for name in ("architecture", "task", "classes", "input", "input_size", "classifier", "lrn"):
        if getattr(parent, name) != getattr(config, name):
            raise ConfigError(f"{config.name} and its parent {parent.name} differ in {name}; make them the same.")
    if len(training.stages) != 1 or training.stages[0] != Stage(config.input_size, training.stages[0].epochs):
        raise ConfigError(f"{config.name} needs one stage at its input size, {config.input_size} px.")
    if training.start or training.frozen or training.auxiliary:
        raise ConfigError(f"{config.name} starts from its parent: start, frozen and auxiliary cannot be given.")
    if siamese.copies < 1 or not 0 <= siamese.similar <= 1:
        raise ConfigError(f"{config.name} needs 1 copy or more, and a share of similar pairs in 0..1.")
    return siamese, parent


def _settings(config: NetworkConfig) -> SiameseConfig:
    return configs.given(config.siamese, f"{config.name} is not fine-tuned on pairs")


def build(config: NetworkConfig, given: Parent | None = None) -> tuple[keras.Model, keras.Model]:
    """The frozen layers, and the layers that are trained with the features at the cut as further outputs.

    Args:
        config: the network.
        given: its parent, if that is not released.

    Returns:
        frozen: `image` -> activation before `trained_from`; trained: that -> logits under `fc8`, and the scaled
        features, float32 (N, d), under the name of each loss at the cut. Both have the parent's weights.

    Raises:
        ConfigError: layers that do not exist, or that are in the wrong order.
        WeightsError: the parent's weights are missing or damaged.
    """
    siamese, parent = check(config, given)
    training = config.training
    values = given[1] if given else weights.load(parent)
    # In float32, whatever the training's precision: other networks and measurements use its output.
    released = graph.inference_network(parent, values)
    names = [layer.name for layer in graph.layers(released)]
    if siamese.trained_from not in names[1:] or names.index(siamese.trained_from) > names.index(siamese.cut):
        raise ConfigError(
            f"{config.name} is trained from {siamese.trained_from!r}; give {siamese.cut}, or a layer before it."
        )
    start = names.index(siamese.trained_from)
    frozen = graph.chain(graph.layers(released)[:start], released.input_shape[1:], released.input.name, "frozen")
    keras.config.set_dtype_policy(training.precision)
    try:
        whole = graph.build(
            config.architecture,
            len(config.classes),
            input_size=config.input_shape,
            classifier=config.classifier,
            lrn=config.lrn,
            dropout=training.dropout,
            probabilities=False,
        )
    finally:
        keras.config.set_dtype_policy("float32")
    graph.set_weights(whole, values)
    layers = graph.layers(whole)
    activation = x = keras.Input(frozen.output_shape[1:], name="activation")
    outputs = {}
    for layer in layers[start:]:
        x = layer(x)
        if layer.name == siamese.cut:
            features = keras.layers.Flatten(dtype="float32", name="cut")(x)
            scale = siamese.feature_unit / features.shape[1] ** 0.5 if siamese.feature_unit else 1.0
            for name in losses.of_pairs(siamese, len(config.classes)):
                outputs[name] = keras.layers.Rescaling(scale, dtype="float32", name=name)(features)
    return frozen, keras.Model(activation, {"fc8": x, **outputs}, name=config.architecture)


def compile_network(network: keras.Model, config: NetworkConfig, steps: int) -> None:
    """Compiles with the losses' weights, over one learning-rate cycle, the classifier faster than the rest."""
    siamese = _settings(config)
    pairs = losses.of_pairs(siamese, len(config.classes))
    network.compile(
        optimizer(config.training, steps, siamese.classifier_multiplier),
        loss={
            "fc8": losses.classification(config.training, len(config.classes)),
            **{name: loss for name, (loss, _) in pairs.items()},
        },
        loss_weights={"fc8": 1.0, **{name: weight for name, (_, weight) in pairs.items()}},
        metrics={"fc8": ["accuracy"]},
        jit_compile=keras.backend.backend() == "jax",  # as in primary.compile_network
    )


def _pairs(classes: np.ndarray, identities: np.ndarray | None, seed: int, fixed: bool) -> Pairs:
    """Pairs of different people; if a small validation set has too few people, pairs of any faces."""
    try:
        return Pairs(classes, identities, seed)
    except DataError:
        if not fixed or identities is None:
            raise
        return Pairs(classes, None, seed)


def train(
    config: NetworkConfig, train_set: Dataset, validation_set: Dataset, run: Path, cache: Path | None = None
) -> keras.Model:
    """Fine-tunes a network on pairs, from its last finished epoch if the run was interrupted.

    Args:
        config: the network, with `siamese` and a released `parent`.
        train_set, validation_set: of `privzoo.data`, with the primary label, and with identities where they are known.
        run: folder for checkpoints, `log.csv`, `curves.png` and `record.json`.
        cache: folder of the frozen layers' outputs, which several runs may share; default: in the run's.

    Returns:
        The trained layers, as `build` gives them.

    Raises:
        ConfigError, WeightsError, DataError: each says what to correct.
    """
    training, siamese = config.training, _settings(config)
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(training.seed)
    checkpoint = Checkpoint(run, record.fingerprint(config))
    frozen, network = build(config)
    skipped = train_set.skipped + validation_set.skipped
    cache = cache or run / "cache"
    names = list(losses.of_pairs(siamese, len(config.classes)))

    def batches(data: Dataset, copies: int, fixed: bool) -> PairBatches:
        chips, labels = arrays(data, training.chip_size, skipped=skipped)
        check_labels(config, data, labels)
        pairs = _pairs(labels[config.task], labels.get("identity"), training.seed, fixed)
        sources = [augmented_chips(chips, config.input_size, training, copy) for copy in range(copies)]
        sources = sources or [activations.whole_chips(chips, config.input_size)]
        kept = [activations.compute(frozen, source, cache).values for source in sources]
        return PairBatches(kept, labels[config.task], pairs, siamese.similar, names, training.batch_size, fixed)

    train_batches = batches(train_set, siamese.copies, fixed=False)
    validation_batches = batches(validation_set, 0, fixed=True)
    compile_network(network, config, training.stages[0].epochs * len(train_batches))
    train_batches.start(checkpoint.resume(network))
    counts = {"train": len(train_batches.classes), "validation": len(validation_batches.classes), "skipped": skipped}
    counts |= {"own": train_set.facts} if train_set.facts else {}
    fit(network, config, lambda stage, first: (train_batches, validation_batches), checkpoint, counts)
    return network
