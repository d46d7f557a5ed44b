"""The recipe for an obfuscator in front of a frozen network (Leroux et al. 2018, section 2).

The obfuscator minimises the classification loss L_c and raises the reconstruction loss L_r, the deobfuscator minimises
L_r; the classifier is not changed. As published, this does not work by itself: raising an error has no bottom, and a
deobfuscator that falls behind is no opponent. So

- L_r is the squared error as a share of the mean image's (`losses.unexplained`), and the obfuscator raises it up to 1
  and no further (`losses.exposed`): what is no better than the mean image reveals nothing by this measure;
- the obfuscator's output is bounded, being an image (`architectures.obfuscator`);
- the deobfuscator takes several steps for each of the obfuscator's, on the last few batches;
- a fresh deobfuscator takes over from time to time, and learns alone before the obfuscator goes on: one that the
  obfuscator has learnt to evade is stuck, a fresh one is not.

With `perceptual`, L_r also has the errors of a layer of the classifier. With `also`, several frozen networks must read
the image: an obfuscator that is to work with networks that it never saw needs more than one to learn from.
"""

from __future__ import annotations

import collections
from pathlib import Path

import keras
import numpy as np

from privzoo import config as configs
from privzoo import weights
from privzoo.architectures import bottleneck, graph
from privzoo.architectures.obfuscator import DEOBFUSCATOR, OBFUSCATOR
from privzoo.config import FACE, NetworkConfig, ObfuscationConfig
from privzoo.data import Dataset
from privzoo.errors import ConfigError, DataError
from privzoo.training import losses, record
from privzoo.training.batches import PlainBatches, TrainingBatches, prefetched, remaining_stages, steps
from privzoo.training.checkpoint import finish
from privzoo.training.opening import opened
from privzoo.training.players import RECONSTRUCTION, Players
from privzoo.training.schedule import OneCycle

BATCH = 64  # images that are judged at once
FIRST_OUTPUT = "fc8"  # logits of the parent; those of the others have this and their number


def check(config: NetworkConfig) -> tuple[ObfuscationConfig, list[NetworkConfig]]:
    """Settings and classifiers of a network, its parent first; raises ConfigError for what this recipe cannot do."""
    settings = configs.given(config.obfuscation, f"{config.name} has no obfuscator to be trained")
    training = config.training
    if not config.parent:
        raise ConfigError(f"{config.name} has an obfuscator, but no parent; give the network that reads the image.")
    parent = configs.network(config.parent)
    for name in ("architecture", "task", "classes", "input", "classifier", "lrn"):
        if getattr(parent, name) != getattr(config, name):
            raise ConfigError(f"{config.name} and its parent {parent.name} differ in {name}; make them the same.")
    if training.start or training.frozen or training.auxiliary:
        raise ConfigError(f"{config.name} leaves its parent as it is: start, frozen and auxiliary cannot be given.")
    classifiers = [parent, *map(configs.network, settings.also)]
    for one in classifiers:
        _check_reader(one, config)
    if len(names := {one.name for one in classifiers}) < len(classifiers):
        raise ConfigError(f"{config.name} names one of {', '.join(sorted(names))} twice; name each network once.")
    bottleneck.check_any({stage.input_size or 0 for stage in training.stages} | {config.chip_side})
    return settings, classifiers


def _check_reader(one: NetworkConfig, config: NetworkConfig) -> None:
    if one.input != FACE:
        raise ConfigError(f"{one.name} takes a {one.input} input, not images; {config.name} needs a network for faces.")
    if (one.task, one.classes, one.output) != (config.task, config.classes, config.output):
        raise ConfigError(
            f"{one.name} tells {one.task} ({', '.join(one.classes)}), {config.name} {config.task} "
            f"({', '.join(config.classes)}); name networks of one task with the same classes."
        )
    if one.mixing or one.obfuscation:
        raise ConfigError(f"{one.name} was not trained on plain images; {config.name} needs a network that was.")
    # With average pooling the same weights take any size.
    sizes = {stage.input_size for stage in config.training.stages} | {config.input_size}
    if one.classifier and sizes != {one.input_size}:
        raise ConfigError(
            f"{one.name} takes images of {one.input_size} px only, not those of {config.name}; give all its stages and "
            "its input_size that size."
        )


def classifier(network: NetworkConfig, side: int | None) -> keras.Model:
    """A released network that is not trained: images RGB 0..255 (N, S, S, 3) -> logits (N, classes).

    Raises:
        WeightsError: its weights are missing or damaged.
    """
    built = graph.build(
        network.architecture,
        len(network.classes),
        input_size=side,
        classifier=network.classifier,
        lrn=network.lrn,
        probabilities=False,
    )
    graph.set_weights(built, weights.load(network))
    found = graph.chain(graph.layers(built), built.input_shape[1:], "read", network.name)
    found.trainable = False
    return found


def decoder(config: NetworkConfig, generation: int = 0) -> keras.Model:
    """A deobfuscator with fresh weights.

    Args:
        config: of `check`.
        generation: how many there were before it in a run; another number gives other weights.
    """
    settings, _ = check(config)
    return _half(config, DEOBFUSCATOR, settings.decoder_width, generation + 1)


def _half(config: NetworkConfig, part: str, width: float, number: int) -> keras.Model:
    side, policy = _side(config), keras.config.dtype_policy().name
    keras.config.set_dtype_policy(config.training.precision)
    try:
        layers = bottleneck.layers(
            part, side, width, batch_norm=True, seed=10_000 * config.training.seed + 100 * number
        )
    finally:
        keras.config.set_dtype_policy(policy)
    return graph.chain(layers, (side, side, 3), f"{part}_input", part)


def _side(config: NetworkConfig) -> int | None:
    return bottleneck.check_any({stage.input_size or 0 for stage in config.training.stages})


def build(config: NetworkConfig) -> Players:
    """Both networks with fresh weights in front of the frozen classifiers, which have their released ones.

    Raises:
        ConfigError: what cannot be trained; see `check`.
        WeightsError: weights of a classifier are missing or damaged.
    """
    settings, networks = check(config)
    keras.config.set_dtype_policy(config.training.precision)
    try:
        frozen = [classifier(network, _side(config)) for network in networks]
    finally:
        keras.config.set_dtype_policy("float32")
    errors: list[tuple[keras.Model | None, float]] = [(None, 1.0)]
    for name, weight in settings.perceptual.items():
        if name not in [layer.name for layer in graph.layers(frozen[0])]:
            raise ConfigError(f"{config.name} has the perceptual layer {name!r}, which {networks[0].name} lacks.")
        errors.append((_until(frozen[0], name), weight))
    obfuscator = _half(config, OBFUSCATOR, settings.width, 0)
    outputs = {f"{FIRST_OUTPUT}_{i}" if i else FIRST_OUTPUT: network for i, network in enumerate(frozen)}
    return Players(obfuscator, decoder(config), outputs, errors)


def _until(network: keras.Model, name: str) -> keras.Model:
    names = [layer.name for layer in graph.layers(network)]
    found = graph.layers(network)[: names.index(name) + 1]
    return graph.chain(found, network.input_shape[1:], "seen", f"until_{name}")


def compile_players(players: Players, config: NetworkConfig, steps: int) -> None:
    """Compiles with Adam: the obfuscator over one learning-rate cycle of `steps`, the deobfuscator at a constant rate.

    The paper divides the rate by 10 every 30 of 100 epochs. Here it falls by a cosine, as in the zoo's other recipes;
    the deobfuscator's does not, since a fresh one late in a run must learn as fast as the first.
    """
    training, (settings, _) = config.training, check(config)
    cycle = OneCycle(training.peak_learning_rate, steps, training.warm_up)
    players.compile_turns(
        keras.optimizers.Adam(cycle, beta_1=training.momentum, global_clipnorm=training.clip_norm),
        keras.optimizers.Adam(settings.decoder_rate, global_clipnorm=training.clip_norm),
        lambda: losses.primary(config),
        settings.weight,
    )


def trained_weights(config: NetworkConfig, players: Players) -> dict[str, np.ndarray]:
    """Weights of the parent with those of both players, batch norm folded: `<layer>/kernel` and `<layer>/bias`."""
    _, networks = check(config)
    found = weights.load(networks[0])
    for half in (players.obfuscator, players.deobfuscator):
        found |= graph.fold_batch_norm(graph.get_weights(half))
    return found


def _validation(chips: np.ndarray, labels: np.ndarray, size: int | None, seed: int) -> PlainBatches:
    """Whole chips in a random order, always the same: data sets are sorted, and L_r needs all kinds in each batch.

    A face that would be alone in the last batch is left out: the spread of one is none.
    """
    order = np.random.default_rng(seed).permutation(len(chips))
    order = order[: len(order) - (len(order) % BATCH == 1)]
    return PlainBatches(chips[order], size, BATCH, {FIRST_OUTPUT: labels[order]})


def train(config: NetworkConfig, train_set: Dataset, validation_set: Dataset, run: Path) -> Players:
    """Trains an obfuscator against a deobfuscator, from the last finished epoch if the run was interrupted.

    Args:
        config: the network, with `obfuscation` and a released `parent`. Of its training, `momentum` is Adam's first
            one; weight decay and dropout have no part.
        train_set, validation_set: of `privzoo.data`, with the primary label.
        run: folder for checkpoints, `log.csv`, `curves.png` and `record.json`. The log has for training and for
            validation L_c as `fc8_loss` (of further classifiers `fc8_1_loss`, ...), L_r as `reconstruction`, and the
            obfuscator's whole loss; for training also the deobfuscator's.

    Returns:
        Both networks.

    Raises:
        ConfigError, WeightsError, DataError: each says what to correct.
    """
    training = config.training
    check(config)
    begun = opened(config, train_set, validation_set, run)
    checkpoint, chips, validation_chips = begun.checkpoint, begun.chips, begun.validation_chips
    if min(len(chips), len(validation_chips), training.batch_size) < 2:
        raise DataError(
            f"{train_set.name} has {len(chips)} images to train on and {len(validation_chips)} to validate on, in "
            f"batches of {training.batch_size}; an obfuscator needs 2 or more of each."
        )
    players = build(config)
    epochs = sum(stage.epochs for stage in training.stages)
    compile_players(players, config, epochs * steps(len(chips), training.batch_size))
    done = checkpoint.resume(players)
    record.trim_log(run / "log.csv", done)
    for stage, first, end in remaining_stages(training.stages, done):
        size, wanted = stage.input_size, {FIRST_OUTPUT: begun.labels[config.task]}
        batches = TrainingBatches(chips, wanted, training.batch_size, size, training.changes, training.seed, first)
        judged = _validation(validation_chips, begun.validation_labels[config.task], size, training.seed)
        callbacks = keras.callbacks.CallbackList(
            [keras.callbacks.CSVLogger(str(run / "log.csv"), append=first > 0), checkpoint],
            add_progbar=True,
            model=players,
            epochs=end,
            steps=len(batches),
            verbose=1,
        )
        callbacks.on_train_begin()
        for epoch in range(first, end):
            callbacks.on_epoch_begin(epoch)
            logs = _epoch(players, config, batches, epoch, callbacks)
            logs |= {f"val_{name}": value for name, value in players.judge(judged).items()}
            callbacks.on_epoch_end(epoch, logs)
        callbacks.on_train_end()
    finish(config, checkpoint, begun.counts, (f"{FIRST_OUTPUT}_loss", RECONSTRUCTION, f"{FIRST_OUTPUT}_accuracy"))
    return players


def _epoch(
    players: Players,
    config: NetworkConfig,
    batches: TrainingBatches,
    epoch: int,
    callbacks: keras.callbacks.CallbackList,
) -> dict[str, float]:
    """One epoch; the means of its losses. What happens depends only on the state before it, seed and epoch."""
    settings, _ = check(config)
    fresh = settings.restart and epoch and epoch % settings.restart == 0
    if fresh:
        players.replace_decoder(decoder(config, epoch // settings.restart))
    if fresh or not epoch:
        for number in range(settings.catch_up):
            players.rebuild(batches[number % len(batches)][0])
    recent: collections.deque[np.ndarray] = collections.deque(maxlen=settings.decoder_steps)
    losses_of: dict[str, list[float]] = collections.defaultdict(list)
    for number, (images, labels) in enumerate(prefetched(batches)):
        callbacks.on_train_batch_begin(number)
        recent.append(images)
        for some in recent:
            losses_of[f"{DEOBFUSCATOR}_loss"].append(players.rebuild(some))
        found = players.hide(images, labels[FIRST_OUTPUT])
        for name, value in found.items():
            losses_of[name].append(value)
        callbacks.on_train_batch_end(number, found)
    batches.on_epoch_end()
    return {name: float(np.mean(values)) for name, values in losses_of.items()}
