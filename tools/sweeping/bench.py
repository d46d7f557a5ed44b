"""A network with the faces and people on whom settings are tried: validation data, and people who are not measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privzoo import activations, config, embeddings, weights
from privzoo.architectures import graph
from privzoo.audit import own
from privzoo.audit.attacks import identity
from privzoo.config import ModelConfig
from privzoo.data import splits
from privzoo.evaluation import intervals
from privzoo.mechanisms.gaussian import Noise
from privzoo.training import fitting, reduction

QUERIES = (1, 100)
BATCH = 64


class Bench:
    """Tries settings of one network's models.

    Args:
        name: of the network.
        cuts: of the models.
        root: folder of the data sets.
        cache: folder for features, shared by all tools.
        seeds: of attackers and of draws of the noise.
        attackers: names in `privzoo.audit.attacks.attackers`.
        faces: training faces that reductions are fitted on, evenly spaced; None: all.
    """

    def __init__(
        self,
        name: str,
        cuts: Sequence[str],
        root: str,
        cache: Path,
        seeds: Sequence[int],
        attackers: Sequence[str],
        faces: int | None = None,
    ):
        network = config.network(name)
        self.network = graph.inference_network(network, weights.load(network))
        train, validation = splits.of_network(network, root)
        train = train if faces is None else splits.take(train, faces)
        self.fitter = fitting.Fitter(network, self.network, cuts, train, validation, cache)
        self.data = splits.validation_name(validation)
        # Protocol 7: never LFW-100 here, which is looked at once, for what is published.
        self.people = own.data_of(network, root).choosing(network.input_size)
        self.cache, self.seeds, self.attackers = cache, tuple(seeds), tuple(attackers)

    def _activations(self, cut: str) -> list[np.ndarray]:
        """Activations of the people's training and scored faces at a cut."""
        images = (activations.whole_chips(faces.chips, faces.chips.shape[1]) for faces in self.people)
        kept = (activations.at_cuts(self.network, source, [cut], self.cache, np.float32) for source in images)
        return [found[cut].values for found in kept]

    def measure(self, model: ModelConfig) -> dict[str, Any]:
        """Measures one setting.

        Args:
            model: with the setting.

        Returns:
            `accuracy` on `faces` validation faces of `data` with `low` and `high`, mean over the seeds' draws of the
            noise; `identity`: number of averaged queries -> the best attacker with value, low, high; `people` who were
            attacked, `epsilon` or None, and `facts` of the fit.
        """
        heldout, labels = self.fitter.validation[0][model.cut], self.fitter.validation[1]
        sides = self._activations(model.cut)
        facts: dict[str, Any] = {}
        if model.dimensions:
            arrays, facts = self.fitter.fit(model)
            seeds = self.seeds if model.noise else self.seeds[:1]
            told = np.stack([fitting.answers(model, self.network, arrays, heldout, seed) for seed in seeds])
            down = reduction.Linear(arrays["reduce/kernel"], arrays["reduce/bias"])
            sides = [reduction.mapped(side, down).astype(np.float32) for side in sides]
            sides = [np.rint(side) if model.step else side for side in sides]
        else:
            _, tail = embeddings.get("simple").attach(*graph.split(self.network, model.cut), {}, model)
            step = model.step or 0
            sides = [np.rint(side / step) if step else side for side in sides]
            parts = (np.float32(heldout[i : i + BATCH]) for i in range(0, len(heldout), BATCH))
            answers = [np.asarray(tail(np.rint(part / step) if step else part)).argmax(1) for part in parts]
            told = np.concatenate(answers)[None]
            facts["levels"] = [len(np.unique(sides[0]))] if step else []
        right = intervals.share(told == labels)
        return {
            "accuracy": right.value,
            "low": right.low,
            "high": right.high,
            "faces": len(labels),
            "data": self.data,
            "identity": self._identity(model, sides),
            "people": self.people[1].name,
            "attackers": list(self.attackers),
            "epsilon": facts.get("epsilon_at_delta_1e-5"),
            "facts": facts,
        }

    def _identity(self, model: ModelConfig, sides: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
        train, test = self.people
        noise = Noise(model.noise.sigma, model.noise.clip) if model.noise else None
        figures = {}
        for queries in QUERIES if noise else QUERIES[:1]:
            result = identity.attack(
                sides[0],
                train.labels["identity"],
                sides[1],
                test.labels["identity"],
                noise=noise,
                queries=queries,
                seeds=self.seeds,
                attackers=self.attackers,
                train_ids=train.ids,
                test_ids=test.ids,
            )
            figures[str(queries)] = {"attacker": result.best, **result.figure(result.best).ends()}
        return figures
