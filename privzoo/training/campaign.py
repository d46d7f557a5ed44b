"""Campaigns: many networks in one go, within a time budget, on one accelerator.

The networks of a plan are trained in its order, each with its own share of the time. A network's recipe is that of its
config: primary networks and Siamese ones (Osia et al. 2017, III.A). `CampaignConfig` says what a campaign adds.
Teachers are networks of the same recipe with other seeds; the network learns their mean answer on the same changed
image, beside the labels (Hinton et al. 2015; Beyer et al. 2022). If time runs short, the learning rate's cycle is run
through in fewer steps, so that every network that was begun also ends.

Each network is written as soon as it is done; a campaign that was killed goes on with the next, and within a network
with the next of its teachers.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from absl import logging

from privzoo import config as configs
from privzoo import weights
from privzoo.architectures import graph
from privzoo.config import CampaignConfig, NetworkConfig, to_dict
from privzoo.errors import ConfigError, DataError
from privzoo.files import replacing, write_arrays
from privzoo.outputs import CLASS
from privzoo.provenance import write_csv
from privzoo.training import accelerated, losses, packs, primary, record, siamese
from privzoo.training.accelerated import Learner, State
from privzoo.training.batches import remaining_stages, steps
from privzoo.training.campaign_plan import Clock, Plan, find, weights_path, without_accelerator
from privzoo.training.pairs import Pairs
from privzoo.training.schedule import optimizer

STEPS = 50  # of a dispatch
UNKNOWN = -1  # label of an image whose data set lacks it


def run(
    plan_file: Path,
    data: Path,
    out: Path,
    seconds: float,
    init: Path | None,
    git: str,
    only: str = "",
    whole: bool = False,
) -> None:
    """Trains what a plan names and is not done yet.

    Args:
        plan_file: YAML of a `Plan`.
        data: folder of packs.
        out: folder of results, one folder for each network.
        seconds: for all that is begun now.
        init: folder of start weights.
        git: revision of the code, for the records.
        only: prefix or prefixes, separated by commas, of the networks that are wanted; none: all.
        whole: the configs' own stages and teachers without an accelerator too.

    Raises:
        ConfigError, DataError, WeightsError: each says what to correct.
    """
    accelerated.check_backend()
    plan, began = configs.read(Plan, plan_file), time.monotonic()
    fast = whole or jax.default_backend() != "cpu"
    kept: dict[str, dict[str, packs.Part]] = {}
    wanted = [entry for entry in plan.networks if entry.network.startswith(tuple(only.split(",")))]
    if not wanted:
        names = ", ".join(entry.network for entry in plan.networks)
        raise ConfigError(f"{plan_file} has no network that begins with {only}; it has {names}.")
    for entry in wanted:
        left = seconds - (time.monotonic() - began)
        if weights_path(out, entry.network).exists():
            continue
        if left < plan.least:
            logging.info("%s is left for the next time: %.0f s are left.", entry.network, left)
            continue
        config = find(plan_file, entry.network)
        if not fast:
            config = without_accelerator(config, entry)
        _Run(config, plan_file, data, out, kept, init, git, fast).train(min(entry.seconds, left - plan.least / 3))


class _Run:
    """The training of one network of a plan."""

    def __init__(
        self,
        config: NetworkConfig,
        plan: Path,
        data: Path,
        out: Path,
        kept: dict[str, dict[str, packs.Part]],
        init: Path | None,
        git: str,
        fast: bool,
    ):
        self.config, self.plan, self.data, self.out, self.kept = config, plan, data, out, kept
        self.init, self.git, self.fast = init, git, fast
        self.training, self.campaign = config.training, config.training.campaign or CampaignConfig()
        self.began = time.monotonic()
        if config.mixing or config.obfuscation or config.input != configs.FACE or config.output != CLASS:
            raise ConfigError(f"{config.name} cannot be trained by a campaign yet; use tools/train.py.")
        self.rows: list[dict[str, float]] = []
        self.read()

    def pack(self, name: str) -> dict[str, packs.Part]:
        """A data set, decoded once for the whole campaign."""
        if name not in self.kept:
            self.kept[name] = packs.read(packs.path_of(self.data, name))
        return self.kept[name]

    def read(self) -> None:
        """Puts the images on the device, with every label that the network learns."""
        wanted = (self.config.task, *self.training.auxiliary)
        main = self.pack(self.training.dataset)
        for label in wanted:
            if label not in main["train"][1]:
                raise DataError(f"The pack of {self.training.dataset} lacks the label {label}; write it again.")
        parts = [main["train"], *(self.pack(name)["train"] for name in self.campaign.also)]
        self.labels = {
            label: np.concatenate([found.get(label, np.full(len(chips), UNKNOWN)) for chips, found in parts])
            for label in (*wanted, *(name for name in self.campaign.balanced if name not in wanted))
        }
        self.chips = np.concatenate([chips for chips, _ in parts])
        self.validation, labels = main["validation"]
        self.truth = labels[self.config.task]
        self.images = jnp.asarray(self.chips)
        self.targets = {label: jnp.asarray(self.labels[label].astype(np.float32)) for label in wanted}
        groups = np.stack([self.labels[name] for name in self.campaign.balanced] or [np.zeros(len(self.chips))])
        _, group, counts = np.unique(groups, axis=1, return_inverse=True, return_counts=True)
        chance = counts[group.reshape(-1)] ** -0.5
        self.chance = chance / chance.sum() if self.campaign.balanced else None

    def train(self, seconds: float) -> None:
        """Trains teachers, if any, then the network, and writes it."""
        logging.info("%s: %.0f s.", self.config.name, seconds)
        if self.config.siamese:
            values = self.on_pairs(seconds)
        else:
            values = self.primary(seconds)
        self.write(values)

    # ---- primary networks

    def primary(self, seconds: float) -> dict[str, np.ndarray]:
        """Teachers and the network itself, batch norm folded."""
        network = primary.build(self.config, self.training)
        total = sum(stage.epochs for stage in self.training.stages) * steps(len(self.chips), self.training.batch_size)
        learner = Learner(network, optimizer(self.training, total))
        teachers = self.campaign.teachers
        # A taught step costs about as much as two others.
        share = seconds / (len(teachers) + 1 + bool(self.campaign.distillation))
        compiled: dict[tuple[int, bool], Callable[..., Any]] = {}
        for seed in teachers:
            if not self.member(self.config.name, seed).exists():
                state = self.fit(learner, self.start(network, seed), seed, share, compiled, None)
                self.keep(learner, state, seed)
        teaching = self.teachers()
        left = seconds - (time.monotonic() - self.began)
        state = self.fit(
            learner, self.start(network, self.training.seed), self.training.seed, max(left, share), compiled, teaching
        )
        learner.take(state)
        folded = graph.fold_batch_norm(graph.get_weights(network))
        auxiliary = self.training.auxiliary
        return {key: value for key, value in folded.items() if key.rpartition("/")[0] not in auxiliary}

    def start(self, network: keras.Model, seed: int) -> keras.Model:
        """The network with the weights from which a run with this seed starts."""
        fresh = dataclasses.replace(self.training, seed=seed)
        keras.utils.set_random_seed(seed)
        made = primary.build(self.config, fresh)
        if self.training.start:
            if self.init is None:
                raise ConfigError(f"{self.config.name} starts from {self.training.start}; give its folder.")
            primary.load_start_weights(made, self.init / self.training.start, self.config.task)
        graph.set_weights(network, graph.get_weights(made))
        return network

    def member(self, name: str, seed: int) -> Path:
        """Where a teacher's weights lie."""
        return self.out / name / f"teacher_{seed}.npz"

    def keep(self, learner: Learner, state: State, seed: int) -> None:
        """Writes a teacher's weights."""
        learner.take(state)
        path = self.member(self.config.name, seed)
        with replacing(path) as temporary, temporary.open("wb") as file:
            write_arrays(file, graph.get_weights(learner.network))

    def teachers(self) -> tuple[keras.Model, int, list[tuple[list[Any], list[Any]]]] | None:
        """The teachers' network, the side of its images, and each one's weights; None if nobody teaches."""
        if not self.campaign.distillation:
            return None
        config = find(self.plan, self.campaign.taught_by) if self.campaign.taught_by else self.config
        network, states = primary.build(config, config.training), []
        for seed in (config.training.campaign or CampaignConfig()).teachers:
            path = self.member(config.name, seed)
            if not path.exists():
                logging.warning("%s is taught without %s, which is not there.", self.config.name, path)
                continue
            graph.set_weights(network, weights.read(path))
            variables = network.trainable_variables, network.non_trainable_variables
            first, other = ([jnp.array(v.value) for v in part] for part in variables)
            states.append((first, other))
        return (network, config.chip_side, states) if states else None

    def fit(
        self,
        learner: Learner,
        network: keras.Model,
        seed: int,
        seconds: float,
        compiled: dict[tuple[int, bool], Callable[..., Any]],
        teaching: tuple[keras.Model, int, list[Any]] | None,
    ) -> State:
        """One member's run over all stages."""
        state, training = learner.state(), self.training
        total = sum(stage.epochs for stage in training.stages) * steps(len(self.chips), training.batch_size)
        clock, rng = Clock(total, seconds), np.random.default_rng(seed)
        random = jax.random.key(seed)
        for stage, _, end in remaining_stages(training.stages, 0):
            size = configs.given(stage.input_size, f"{self.config.name} takes no images")
            stop = end / sum(one.epochs for one in training.stages)
            key = (size, teaching is not None)
            if key not in compiled:
                compiled[key] = learner.dispatch(self.loss(network, size, teaching))
            validation, predict = accelerated.whole(self.validation, size), accelerated.answers(network)
            drawn = self.orders(rng)
            while clock.share() < stop - 1e-9:
                random, used = jax.random.split(random)
                given = next(drawn)
                state = learner.at(state, min(total - 1, round(clock.share() * total)))
                data = (self.images, self.targets, teaching[2] if teaching else [])
                state, value = compiled[key](state, data, given, used)
                value = float(value.mean())  # waits for the device
                clock.count(len(given))
                if not np.isfinite(value):
                    raise DataError(f"{self.config.name} diverged (loss {value}); lower its learning rate.")
            right = float(np.mean(predict(state, validation).argmax(axis=1) == self.truth))
            self.log(seed, size, clock, value, right, teaching is not None)
        return state

    def log(self, seed: int, size: int, clock: Clock, loss: float, accuracy: float, taught: bool) -> None:
        """Notes what a stage came to."""
        spent = time.monotonic() - self.began
        # The first dispatch compiles: neither its steps nor its time count.
        counted = max(0, clock.done - clock.first)
        speed = counted * self.training.batch_size / max(1e-3, time.monotonic() - (clock.began or 0))
        self.rows.append(
            {
                "epoch": len(self.rows),
                "loss": loss,
                "val_accuracy": accuracy,
                "seed": seed,
                "size": size,
                "steps": clock.done,
                "planned_steps": clock.total,
                "taught": int(taught),
                "images_per_second": round(speed),
                "seconds": round(spent, 1),
            }
        )
        logging.info(
            "%s seed %d at %d px: loss %.4f, validation %.4f, %d of %d steps, about %.0f images/s, %.0f s so far.",
            self.config.name, seed, size, loss, accuracy, clock.done, clock.total, speed, spent,
        )  # fmt: skip

    def orders(self, rng: np.random.Generator) -> Iterator[Any]:
        """Numbers of images for one dispatch after the other, (steps, batch)."""
        count, size = len(self.chips), min(self.training.batch_size, len(self.chips))
        while True:
            if self.chance is None:
                order = rng.permutation(count)
            else:
                order = rng.choice(count, count, p=self.chance)
            whole = order[: count // size * size].reshape(-1, size).astype(np.int32)
            # One shape, one compilation: what completes no dispatch is left out, unless it is all there is.
            pieces = max(1, len(whole) // STEPS)
            yield from whole[: len(whole) // pieces * pieces].reshape(pieces, -1, size)

    def loss(self, network: keras.Model, size: int, teaching: Any) -> Callable[..., tuple[Any, list[Any]]]:
        """Cross-entropy with smoothed labels and teachers, and the auxiliary losses, on changed images."""
        training, campaign, classes = self.training, self.campaign, len(self.config.classes)
        teach = None
        if teaching:
            teach = accelerated.taught(teaching[2], teaching[0], teaching[1], campaign.temperature)

        def loss(trainable: Any, other: Any, data: Any, chosen: Any, random: Any) -> tuple[Any, list[Any]]:
            (chips, labels, teachers), keys = data, jax.random.split(random, 2)
            images = accelerated.augmented(chips[chosen], size, training.augmentation, campaign, keys[0])
            truth = {label: values[chosen] for label, values in labels.items()}
            wanted = jax.nn.one_hot(truth[self.config.task].astype(jnp.int32), classes)
            wanted = wanted * (1 - training.label_smoothing) + training.label_smoothing / classes
            if campaign.mixup:
                share = jax.random.beta(keys[1], campaign.mixup, campaign.mixup)
                share = jnp.maximum(share, 1 - share)  # an image has the larger share: auxiliary labels are its own
                images = share * images + (1 - share) * jnp.roll(images, 1, axis=0)
                wanted = share * wanted + (1 - share) * jnp.roll(wanted, 1, axis=0)
            outputs, other = network.stateless_call(trainable, other, images, training=True)
            logits = outputs["fc8"].astype(jnp.float32)
            value = accelerated.soft_cross_entropy(logits, wanted)
            if teach is not None:
                soft, heat = jax.lax.stop_gradient(teach(teachers, images)), campaign.temperature
                taught = accelerated.soft_cross_entropy(logits / heat, soft) * heat**2
                value = (1 - campaign.distillation) * value + campaign.distillation * taught
            if "age" in training.auxiliary:
                error = jnp.abs(outputs["age"][:, 0].astype(jnp.float32) - truth["age"] / primary.AGE_SCALE)
                value += training.auxiliary["age"] * accelerated.masked_mean(error, truth["age"] >= 0)
            if "race" in training.auxiliary:
                logs = jax.nn.log_softmax(outputs["race"].astype(jnp.float32))
                race = jax.nn.one_hot(truth["race"].astype(jnp.int32), logs.shape[1])  # zeros where it is unknown
                error = -(race * logs).sum(axis=1)
                value += training.auxiliary["race"] * accelerated.masked_mean(error, truth["race"] >= 0)
            return value, other

        return loss

    # ---- Siamese networks

    def parent(self) -> tuple[NetworkConfig, dict[str, np.ndarray]]:
        """The parent: of this campaign, or released."""
        name = configs.given(self.config.parent, f"{self.config.name} has no parent")
        path = weights_path(self.out, name)
        if path.exists():
            return find(self.plan, name), weights.read(path)
        released = configs.network(name)
        return released, weights.load(released)

    def on_pairs(self, seconds: float) -> dict[str, np.ndarray]:
        """The parent, fine-tuned on pairs with losses at the cut; each face is changed anew each time."""
        settings = configs.given(self.config.siamese, f"{self.config.name} is not fine-tuned on pairs")
        parent, values = self.parent()
        keras.utils.set_random_seed(self.training.seed)
        frozen, network = siamese.build(self.config, (parent, values))
        half = max(1, self.training.batch_size // 2)
        batches = len(self.chips) // (2 * half)
        total = self.training.stages[0].epochs * batches
        learner = Learner(network, optimizer(self.training, total, settings.classifier_multiplier))
        size = self.config.chip_side
        fixed = [
            [jnp.array(v.value) for v in part] for part in (frozen.trainable_variables, frozen.non_trainable_variables)
        ]
        classes, task = len(self.config.classes), self.config.task
        pairs = losses.of_pairs(settings, classes)
        classification = losses.classification(self.training, classes)

        def loss(trainable: Any, other: Any, data: Any, given: Any, random: Any) -> tuple[Any, list[Any]]:
            (chips, labels, first), (chosen, same) = data, given
            images = accelerated.augmented(chips[chosen], size, self.training.augmentation, self.campaign, random)
            activation, _ = frozen.stateless_call(*first, images, training=False)
            outputs, other = network.stateless_call(trainable, other, activation, training=True)
            truth = labels[task][chosen]
            target = jnp.stack([jnp.tile(same, 2), truth], axis=1).astype(jnp.float32)
            value = jnp.mean(classification(truth, outputs["fc8"].astype(jnp.float32)))
            for name, (pair_loss, weight) in pairs.items():
                value += weight * jnp.mean(pair_loss(target, outputs[name]))
            return value, other

        drawn = Pairs(self.labels[task], None, self.training.seed)
        compiled, state = learner.dispatch(loss), learner.state()
        clock, random, epoch = Clock(total, seconds), jax.random.key(self.training.seed), 0
        data = (self.images, self.targets, fixed)
        while clock.share() < 1:
            first = np.random.default_rng((self.training.seed, epoch)).permutation(len(self.chips))[: batches * half]
            second, same = drawn.draw(first, settings.similar, epoch)
            faces = np.concatenate([first.reshape(batches, half), second.reshape(batches, half)], axis=1)
            faces, same = faces.astype(np.int32), same.reshape(batches, half)
            pieces = max(1, batches // STEPS)
            each, epoch = batches // pieces, epoch + 1
            for place in range(0, pieces * each, each):
                if clock.share() >= 1:
                    break
                random, used = jax.random.split(random)
                state = learner.at(state, min(total - 1, round(clock.share() * total)))
                given = (faces[place : place + each], same[place : place + each])
                state, value = compiled(state, data, given, used)
                shown = float(value.mean())
                clock.count(each)
                if not np.isfinite(shown):
                    raise DataError(f"{self.config.name} diverged (loss {shown}); lower its learning rate.")
        learner.take(state)
        found = values | graph.get_weights(network)
        self.log(self.training.seed, size, clock, shown, self.accuracy(found), False)
        return found

    # ---- results

    def accuracy(self, values: dict[str, np.ndarray]) -> float:
        """Share of the validation faces that the network for inference answers rightly, 0 to 1."""
        network = graph.inference_network(self.config, values)
        predict = accelerated.answers(network, "probabilities")
        state = [[v.value for v in part] for part in (network.trainable_variables, network.non_trainable_variables)]
        answers = predict(state, accelerated.whole(self.validation, self.config.chip_side))
        return float(np.mean(answers.argmax(axis=1) == self.truth))

    def write(self, values: dict[str, np.ndarray]) -> None:
        """Writes weights as they are released, and the run's record."""
        folder = self.out / self.config.name
        folder.mkdir(parents=True, exist_ok=True)
        inherited = self.parent()[1] if self.config.parent else {}
        log = folder / "log.csv"
        write_csv(log, self.rows)
        counts = {"train": len(self.chips), "validation": len(self.validation), "skipped": {}}
        facts = {
            "campaign": {
                "device": jax.devices()[0].device_kind,
                "jax": jax.__version__,
                "packs": self.used(),
                "float_validation_accuracy": self.accuracy(values),  # before the weights are coded, for the card
            },
        }
        record.write(
            folder / "record.json",
            config=to_dict(dataclasses.replace(self.config, weights=None)),
            data=counts,
            seconds=round(time.monotonic() - self.began, 1),
            epochs_of_last_start=sum(stage.epochs for stage in self.training.stages),
            git=self.git,
            curves=log,
            **facts,
        )
        weights.save(weights.differing(values, inherited), weights_path(self.out, self.config.name))
        logging.info("%s is done after %.0f s.", self.config.name, time.monotonic() - self.began)

    def used(self) -> dict[str, str]:
        """The packs' hashes."""
        names = (self.training.dataset, *self.campaign.also)
        return {name: weights.sha256(packs.path_of(self.data, name))[:16] for name in names}
