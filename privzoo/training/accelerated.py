"""Training steps that run on an accelerator from end to end: images are drawn, changed and learned there (JAX).

A dispatch runs many steps at once (`jax.lax.scan`), so that the host only sends numbers of images. Networks, losses and
optimizer are those of the other recipes. It runs on a CPU too, where it is many times slower than their oneDNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from privzoo import activations
from privzoo.config import Augmentation, CampaignConfig
from privzoo.errors import ConfigError
from privzoo.training.augment import LUMA

VALIDATION_BATCH = 256
BLANK = (0.02, 0.25)  # share of the image that erasing blanks

State = tuple[list[Any], list[Any], list[Any]]  # trainable, other and the optimizer's variables


def check_backend() -> None:
    """Refuses any Keras backend but JAX.

    Raises:
        ConfigError: it says how to set it.
    """
    if keras.backend.backend() != "jax":
        raise ConfigError("Campaigns run under JAX; set KERAS_BACKEND=jax and start again.")


def augmented(chips: Any, size: int, settings: Augmentation, campaign: CampaignConfig, random: Any) -> Any:
    """One random version of each chip of a batch, as `training.augment` makes, also turned and partly blank.

    Args:
        chips: uint8 (N, side, side, 3), on the device.
        size: side of the results in pixels.
        settings, campaign: what may change and how far.
        random: a JAX key; the same key gives the same results.

    Returns:
        float32 RGB 0..255 (N, size, size, 3).
    """
    count, side = chips.shape[:2]
    keys = iter(jax.random.split(random, 16))

    def draw(low: float, high: float) -> Any:
        return jax.random.uniform(next(keys), (count, 1, 1), minval=low, maxval=high)

    crop = draw(settings.minimum_crop, 1.0) * side
    left, top = (draw(0.0, 1.0) * (side - crop) for _ in range(2))
    angle = jnp.deg2rad(draw(-1.0, 1.0) * campaign.rotation)
    mirror = jnp.where(draw(0.0, 1.0) < 0.5 * settings.flip, -1.0, 1.0)
    steps = (jnp.arange(size) + 0.5) / size - 0.5
    across, down = steps[None, None, :] * mirror, steps[None, :, None]
    x = left + crop * (0.5 + jnp.cos(angle) * across - jnp.sin(angle) * down) - 0.5
    y = top + crop * (0.5 + jnp.sin(angle) * across + jnp.cos(angle) * down) - 0.5
    image = _sampled(chips, x, y)
    grey = jnp.broadcast_to((image @ jnp.asarray(LUMA))[..., None], image.shape)
    image = jnp.where((draw(0.0, 1.0) < settings.grey)[..., None], grey, image)
    mean = image.mean(axis=(1, 2, 3), keepdims=True)
    image = (image - mean) * draw(1 - settings.contrast, 1 + settings.contrast)[..., None] + mean
    image = jnp.clip(image + draw(-settings.brightness, settings.brightness)[..., None], 0, 255)
    if campaign.erasing:
        area, ratio = draw(*BLANK), jnp.exp(draw(-1.0, 1.0))
        half_width, half_height = jnp.sqrt(area * ratio) / 2, jnp.sqrt(area / ratio) / 2
        inside = jnp.abs(steps[None, None, :] - draw(-0.5, 0.5)) < half_width
        inside &= jnp.abs(steps[None, :, None] - draw(-0.5, 0.5)) < half_height
        inside &= draw(0.0, 1.0) < campaign.erasing
        image = jnp.where(inside[..., None], mean, image)
    return image


def _sampled(chips: Any, x: Any, y: Any) -> Any:
    """Bilinear samples of chips at places in pixels, (N, size, size) each; the border repeats beyond itself."""
    count, side = chips.shape[:2]
    x, y = (jnp.clip(place, 0, side - 1) for place in (x, y))
    column, row = jnp.floor(x), jnp.floor(y)
    flat = chips.reshape(count, side * side, 3)

    def pixel(row: Any, column: Any) -> Any:
        place = jnp.minimum(row, side - 1) * side + jnp.minimum(column, side - 1)
        places = place.astype(jnp.int32).reshape(count, -1, 1)
        return jnp.take_along_axis(flat, places, axis=1).reshape(*place.shape, 3).astype(jnp.float32)

    right, below = (x - column)[..., None], (y - row)[..., None]
    above = pixel(row, column) * (1 - right) + pixel(row, column + 1) * right
    return above * (1 - below) + (pixel(row + 1, column) * (1 - right) + pixel(row + 1, column + 1) * right) * below


@dataclass
class Learner:
    """A Keras network with its optimizer, outside Keras's own loop.

    Args:
        network: built, with its first weights.
        optimizer: of `training.schedule`; it follows its number of steps, which `at` sets.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer

    def __post_init__(self) -> None:
        """Makes the optimizer's variables."""
        self.optimizer.build(self.network.trainable_variables)

    def state(self) -> State:
        """The network's weights and a fresh optimizer, in arrays of their own: a dispatch uses up what it is given."""
        parts = (self.network.trainable_variables, self.network.non_trainable_variables, self.optimizer.variables)
        fresh = [[jnp.array(v.value) for v in part] for part in parts]
        return fresh[0], fresh[1], [jnp.zeros_like(value) for value in fresh[2]]

    def at(self, state: State, step: int) -> State:
        """The state with the optimizer at a step of its schedule: fewer steps than planned then skip parts of it."""
        places = [i for i, v in enumerate(self.optimizer.variables) if v is self.optimizer.iterations]
        state[2][places[0]] = jnp.asarray(step, state[2][places[0]].dtype)
        return state

    def take(self, state: State) -> None:
        """Writes a state's weights into the network."""
        for variables, values in zip(
            (self.network.trainable_variables, self.network.non_trainable_variables), state[:2], strict=True
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def dispatch(self, loss: Callable[..., tuple[Any, list[Any]]]) -> Callable[..., tuple[State, Any]]:
        """Compiles a function that runs steps.

        Args:
            loss: trainable and other variables, data, one step's inputs, a key -> loss, and the other variables after.

        Returns:
            State, data, inputs with a leading axis of steps, and a key -> the state after, and each step's loss.
        """

        def step(carry: State, given: tuple[Any, Any], data: Any) -> tuple[State, Any]:
            trainable, other, optimizer = carry
            inputs, random = given
            (value, other), gradient = jax.value_and_grad(loss, has_aux=True)(trainable, other, data, inputs, random)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradient, trainable)
            return (trainable, other, optimizer), value

        def run(state: State, data: Any, inputs: Any, random: Any) -> tuple[State, Any]:
            count = jax.tree.leaves(inputs)[0].shape[0]
            return jax.lax.scan(lambda c, g: step(c, g, data), state, (inputs, jax.random.split(random, count)))

        if jax.default_backend() == "cpu":  # whose convolutions run on one thread inside a loop
            return _one_by_one(jax.jit(step, donate_argnums=0))
        return jax.jit(run, donate_argnums=0)


def _one_by_one(step: Callable[..., tuple[State, Any]]) -> Callable[..., tuple[State, Any]]:
    """The same as a scan, with a dispatch for each step."""

    def run(state: State, data: Any, inputs: Any, random: Any) -> tuple[State, Any]:
        count, values = jax.tree.leaves(inputs)[0].shape[0], []
        for index, key in enumerate(jax.random.split(random, count)):
            state, value = step(state, (jax.tree.map(lambda part, i=index: part[i], inputs), key), data)
            values.append(value)
        return state, jnp.stack(values)

    return run


def answers(network: keras.Model, output: str = "fc8") -> Callable[[Sequence[list[Any]], Any], np.ndarray]:
    """Compiles a function that gives a network's outputs for whole chips.

    Its arguments are a state, or its trainable and other variables alone, and uint8 (N, S, S, 3); it gives (N, units).
    """

    def forward(trainable: list[Any], other: list[Any], images: Any) -> Any:
        outputs, _ = network.stateless_call(trainable, other, images.astype(jnp.float32), training=False)
        return outputs[output] if isinstance(outputs, dict) else outputs

    compiled = jax.jit(forward)

    def run(state: Sequence[list[Any]], images: Any) -> np.ndarray:
        count, found = len(images), []
        for start in range(0, count, VALIDATION_BATCH):
            # The last batch is taken from the end: one shape, one compilation.
            first = max(0, min(start, count - VALIDATION_BATCH))
            found.append(np.asarray(compiled(state[0], state[1], images[first : first + VALIDATION_BATCH])))
            found[-1] = found[-1][start - first :]
        return np.concatenate(found)

    return run


def whole(chips: np.ndarray, size: int | None) -> Any:
    """Chips as networks see them when they are used, uint8 (N, size, size, 3), on the device."""
    return jnp.asarray(activations.prepared(chips, size).astype(np.uint8))


def soft_cross_entropy(logits: Any, wanted: Any) -> Any:
    """Cross-entropy of logits (N, K) with probabilities (N, K), mean over N."""
    return -(wanted * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(axis=-1).mean()


def masked_mean(values: Any, known: Any) -> Any:
    """Mean of values (N,) where the label is known (N,); 0 if none is."""
    return jnp.where(known, values, 0).sum() / jnp.maximum(known.sum(), 1)


def taught(states: Sequence[tuple[list[Any], list[Any]]], network: keras.Model, size: int, temperature: float) -> Any:
    """A function images (N, S, S, 3) -> the teachers' mean probabilities at a temperature, (N, K).

    Args:
        states: each teacher's trainable and other variables.
        network: of which they are weights.
        size: side of the teachers' images in pixels.
        temperature: by which their logits are divided.
    """

    def run(teachers: Any, images: Any) -> Any:
        if images.shape[1] != size:
            images = jax.image.resize(images, (len(images), size, size, 3), "linear")
        found = [network.stateless_call(*teacher, images, training=False)[0]["fc8"] for teacher in teachers]
        return sum(jax.nn.softmax(logits.astype(jnp.float32) / temperature) for logits in found) / len(states)

    return run
