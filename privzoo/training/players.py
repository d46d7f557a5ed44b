"""The two networks that play against each other, and the frozen ones that judge: steps, restarts, state on disk.

Keras trains one set of variables by one optimizer per model. So each player has a model of its own, a `Turn`, over
shared layers, in which only that player learns; a step is a turn of each. This runs on any backend of Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from privzoo.architectures.obfuscator import DEOBFUSCATOR, OBFUSCATOR
from privzoo.training import losses
from privzoo.training.losses import Loss

RECONSTRUCTION = "reconstruction"  # output of both turns, and column of the log: L_r


@keras.saving.register_keras_serializable(package="privzoo")
class Unexplained(keras.layers.Layer):
    """`losses.unexplained` in float32, so that it can be an output."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})

    def call(self, original: Any, rebuilt: Any) -> Any:
        """Share of each image, (N,)."""
        return losses.unexplained(original, rebuilt)

    def compute_output_spec(self, original: Any, rebuilt: Any) -> keras.KerasTensor:
        """One number for each image."""
        return keras.KerasTensor(original.shape[:1], dtype="float32")


class Turn(keras.Model):
    """A graph in which one part learns and all others, however trainable, stay as they are.

    Args:
        inputs, outputs: of the graph.
        learner: name of the layer that learns.
        name: of the model.
    """

    def __init__(self, inputs: Any, outputs: Any, learner: str, name: str) -> None:
        super().__init__(inputs, outputs, name=name)
        self.learner = learner

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The learner's."""
        return self.get_layer(self.learner).trainable_variables

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All others, which are held fixed or, as batch norm's statistics, follow the data."""
        return self._others(self.variables)

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The learner's."""
        return self.trainable_variables

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """All others that are weights."""
        return self._others(self.weights)

    def _others(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        own = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in variables if id(variable) not in own]


class Players(keras.Model):
    """Obfuscator and deobfuscator with their turns and optimizers; what `save_weights` keeps of them is all of it.

    Args:
        obfuscator, deobfuscator: image -> image.
        classifiers: name of an output, the first of them `fc8`, -> frozen network from images to logits.
        errors: what counts in L_r: a frozen network from images to activations, or None for the pixels, -> weight.
    """

    def __init__(
        self,
        obfuscator: keras.Model,
        deobfuscator: keras.Model,
        classifiers: Mapping[str, keras.Model],
        errors: Sequence[tuple[keras.Model | None, float]],
    ) -> None:
        super().__init__(name="players")
        self.obfuscator, self.deobfuscator = obfuscator, deobfuscator
        self.turns = _Untracked(self._turns(classifiers, errors))
        self.read_by = tuple(classifiers)
        self.built = True  # its parts are

    def _turns(
        self, classifiers: Mapping[str, keras.Model], errors: Sequence[tuple[keras.Model | None, float]]
    ) -> tuple[Turn, Turn]:
        found = []
        for learner in (OBFUSCATOR, DEOBFUSCATOR):
            image = keras.Input(self.obfuscator.input_shape[1:], name="image")
            sent = self.obfuscator(image)
            rebuilt = self.deobfuscator(sent)
            shares = [
                weight * (Unexplained()(seen(image), seen(rebuilt)) if seen else Unexplained()(image, rebuilt))
                for seen, weight in errors
            ]
            outputs = {RECONSTRUCTION: sum(shares[1:], shares[0]) / sum(weight for _, weight in errors)}
            if learner == OBFUSCATOR:
                outputs |= {name: network(sent) for name, network in classifiers.items()}
            found.append(Turn(image, outputs, learner, f"turn_of_{learner}"))
        return found[0], found[1]

    def compile_turns(
        self,
        optimizer: keras.optimizers.Optimizer,
        decoder_optimizer: keras.optimizers.Optimizer,
        of_task: Callable[[], tuple[Loss, Any]],
        weight: float,
    ) -> None:
        """Gives each turn its losses: L_c, the mean over the classifiers, and L_r.

        Args:
            optimizer: the obfuscator's.
            decoder_optimizer: the deobfuscator's.
            of_task: makes L_c of one classifier, of logits and labels, and its metric, as `losses.primary`.
            weight: of what L_r has of the obfuscator's loss.
        """
        hide, rebuild = self.turns.values
        jit = keras.backend.backend() == "jax"  # as in primary.compile_network
        names = {name: of_task() for name in self.read_by}
        hide.compile(
            optimizer,
            loss={RECONSTRUCTION: losses.exposed, **{name: loss for name, (loss, _) in names.items()}},
            loss_weights={RECONSTRUCTION: weight, **dict.fromkeys(names, 1 / len(names))},
            metrics={RECONSTRUCTION: [_share], **{name: [metric] for name, (_, metric) in names.items()}},
            jit_compile=jit,
        )
        rebuild.compile(decoder_optimizer, loss={RECONSTRUCTION: losses.rebuilding}, jit_compile=jit)
        optimizer.build(hide.trainable_variables)
        decoder_optimizer.build(rebuild.trainable_variables)
        # Attributes of the model, so that both are saved with it.
        self.optimizer, self.decoder_optimizer = optimizer, decoder_optimizer
        self._fresh = _Untracked([np.array(keras.ops.convert_to_numpy(v)) for v in decoder_optimizer.variables])

    def hide(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """One step of the obfuscator; its losses before it."""
        return _named(self.turns.values[0].train_on_batch(images, self._targets(images, labels), return_dict=True))

    def rebuild(self, images: np.ndarray) -> float:
        """One step of the deobfuscator; its loss before it."""
        nothing = {RECONSTRUCTION: np.zeros(len(images), np.float32)}
        return float(self.turns.values[1].train_on_batch(images, nothing, return_dict=True)["loss"])

    def judge(self, batches: keras.utils.PyDataset) -> dict[str, float]:
        """Losses of both on batches of images with labels, as after training."""
        return _named(self.turns.values[0].evaluate(_Judged(batches, self._targets), verbose=0, return_dict=True))

    def _targets(self, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        return {RECONSTRUCTION: np.zeros(len(images), np.float32), **dict.fromkeys(self.read_by, labels)}

    def replace_decoder(self, fresh: keras.Model) -> None:
        """Puts the weights of a fresh deobfuscator in place of those learnt, and starts its optimizer afresh."""
        self.deobfuscator.set_weights(fresh.get_weights())
        for variable, value in zip(self.decoder_optimizer.variables, self._fresh.values, strict=True):
            variable.assign(value)


class _Untracked:
    """Keeps something out of what Keras saves with a model."""

    def __init__(self, values: Any) -> None:
        self.values = values


class _Judged(keras.utils.PyDataset):
    """Batches with targets of the obfuscator's turn."""

    def __init__(self, batches: keras.utils.PyDataset, targets: Callable[[np.ndarray, np.ndarray], dict]) -> None:
        super().__init__()
        self.batches, self.targets = batches, targets

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        images, labels = self.batches[index]
        return images, self.targets(images, labels["fc8"])


def _share(_: Any, share: Any) -> Any:
    """L_r as a metric, without the obfuscator's hinge."""
    return share


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Columns of the log: the hinge is not shown, L_r is."""
    found = {name: float(value) for name, value in logs.items()}
    found.pop(f"{RECONSTRUCTION}_loss", None)
    return {name.replace(f"{RECONSTRUCTION}__share", RECONSTRUCTION): value for name, value in found.items()}
