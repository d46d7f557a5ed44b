"""A loaded model: nothing that was loaded with noise loses it."""

from __future__ import annotations

import numpy as np
import pytest
from released_fakes import NOISE, coded, models

from privzoo.errors import ConfigError
from privzoo.mechanisms.gaussian import Noise
from privzoo.mechanisms.mixing import Mixing

STATED = Noise(NOISE.sigma, NOISE.clip)


@pytest.mark.parametrize(
    "name",
    [
        *("noise", "book", "card", "network", "head", "tail", "name", "config", "code", "gaussian", "classes"),
        *("input_size", "features", "predict", "explain", "drawn", "manifest", "other"),
    ],
)
def test_no_attribute_can_be_set_or_deleted(name):
    for model in (*models(), coded()):
        for change in (lambda model=model: setattr(model, name, None), lambda model=model: delattr(model, name)):
            with pytest.raises(AttributeError):
                change()
        assert not hasattr(model, "__dict__")


def test_edits_of_what_a_model_hands_out_change_nothing():
    _, model = models()
    handed = model.noise
    object.__setattr__(handed, "sigma", 1e-9)
    assert handed is not model.noise and model.noise == STATED == model.gaussian
    assert model.manifest()["noise"]["sigma"] == NOISE.sigma
    book, response = coded().code
    object.__setattr__(coded().book, "kernel", None)
    object.__setattr__(response, "k", 99)
    assert coded().code[1].k == 2 and coded().book.kernel is not None
    chips = np.zeros((1, model.input_size, model.input_size, 3), np.uint8)
    assert not np.array_equal(model.features(chips), model.features(chips))


def test_a_mixing_model_cannot_be_changed_either():
    from privzoo.mixed import MixedModel

    plain, _ = models()
    model = MixedModel(
        plain.card, plain.network, plain.head, plain.tail, Mixing(4, "orthogonal", np.eye(4), np.zeros(4))
    )
    for name in ("mixing", "covers", "features", "noise", "other"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    with pytest.raises(ConfigError, match="cannot be changed"):
        model.__init__(plain.card, plain.network, plain.head, plain.tail, model.mixing)
    assert model.mixing.group == 4 and not hasattr(model, "__dict__")


def test_a_model_is_not_made_twice():
    plain, model = models()
    with pytest.raises(ConfigError, match="is loaded and cannot be changed; load it again"):
        model.__init__(plain.card, plain.network, plain.head, plain.tail)
    assert model.noise == STATED
