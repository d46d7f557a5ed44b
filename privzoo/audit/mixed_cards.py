"""What a DataMix model's card says of its mixtures: what comes back from a request, and who is recognised in it."""

from __future__ import annotations

import datetime
from pathlib import Path

from privzoo.audit import mixtures, runner, unmixed
from privzoo.card import IDENTITY_ATTACK, UNMIXED
from privzoo.config import ModelConfig, NetworkConfig, given
from privzoo.errors import ConfigError
from privzoo.evaluation.intervals import Estimate
from privzoo.measurement import Measurement

FEATURE, PIXELS = "float head, feature, unmixed from one request", "pixels"


def measure(
    model: ModelConfig,
    network: NetworkConfig,
    root: str | Path,
    cache: Path,
    requests: int,
    people: int,
    seed: int,
    engine: str,
    facts: dict[str, str],
) -> list[Measurement]:
    """Attacks requests of a model's own groups, mixed after its own first blocks.

    Args:
        model: that mixes.
        network: its network, released.
        root: folder of the data sets.
        cache: folder for features and results.
        requests: that are attacked, each with a key of its own.
        people: whose faces are sent, one photograph of each.
        seed: of faces, coefficients and groups.
        engine: where attacks run, as in `privzoo.audit.runner`.
        facts: `git` and `command`, for the card.

    Returns:
        The share of a request's images that are recovered, with its interval over requests; and for groups of the
        papers' size, with orthogonal coefficients, the share of people who are recognised in them, and in raw pixels,
        with their intervals over people.

    Raises:
        ConfigError: the model does not mix, or its network has no weights.
        DataError: LFW is missing, or has too few people.
    """
    how = network.mixing
    if how is None:
        raise ConfigError(f"{model.name} mixes no faces, so there is nothing to unmix; name a DataMix model.")
    given(network.weights, f"{network.name} has no weights")
    row = mixtures.Setting(
        "", "size", size=how.group, coefficients=how.coefficients, blocks=how.blocks, requests=requests
    )
    pool = mixtures.pool(root, people, seed)
    sent, own = (mixtures.features(faces, how.blocks, network, cache) for faces in (pool.sent, pool.own))
    [cells] = mixtures.cells([row], {how.blocks: (sent, own)}, seed)
    figure = mixtures.figure(row, runner.run(cells, cache, engine, progress=False))
    made = [_measurement(UNMIXED, FEATURE, "lfw", mixtures.estimate(figure, "recovered"), network, seed, facts)]
    if (how.group, how.coefficients) == (mixtures.SIZE, mixtures.Setting("", "").coefficients):
        for found in unmixed.measure(root, [how.blocks], network, cache, seed):
            judge = str(found["judge"])
            if not judge.startswith("identity, "):
                continue
            for side, variant in (("unmixed", FEATURE), ("raw", PIXELS)):
                ends = (found[side], found[f"{side}_low"], found[f"{side}_high"])
                estimate = Estimate(*ends, found["photographs"], found["people"])
                named = f"{variant}, by {judge.partition(', ')[2]}"
                made.append(_measurement(IDENTITY_ATTACK, named, "lfw100-test", estimate, network, seed, facts))
    return made


def _measurement(
    metric: str, variant: str, data: str, found: Estimate, network: NetworkConfig, seed: int, facts: dict[str, str]
) -> Measurement:
    return Measurement(
        metric=metric,
        variant=variant,
        data=data,
        value=round(found.value, 6),
        low=round(found.low, 6),
        high=round(found.high, 6),
        count=found.count,
        seeds=(seed,),
        date=datetime.date.today().isoformat(),
        git=facts["git"],
        command=facts["command"],
        sha256=given(network.weights, f"{network.name} has no weights").sha256,
        clusters=found.clusters,
        method=found.method,
    )
