"""Reduced and noisy embeddings: the linear algebra at the cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import DIMENSIONS, NOISE

from privzoo import config, embeddings
from privzoo.config import NoiseConfig
from privzoo.errors import ConfigError, UnknownNameError, WeightsError
from privzoo.mechanisms.gaussian import clip
from privzoo.training import reduction

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    with tiny_zoo.installed(tmp_path_factory.mktemp("zoo")) as folder:
        yield folder


@pytest.fixture(scope="module")
def network(zoo):
    return tiny_zoo.parent_network()


@pytest.fixture(scope="module")
def cut(network):
    """Head, tail, activations of the cut on the made-up faces, and their classes."""
    from privzoo.architectures import graph

    head, tail = graph.split(network, "conv5")
    chips, classes = tiny_zoo.chips()
    return head, tail, np.asarray(head(chips.astype(np.float32))), classes


def attached(cut, model, fitted):
    head, tail, _, _ = cut
    return embeddings.get(model.embedding).attach(head, tail, fitted, model)


def clouds(seed: int, count: int, dimensions: int, classes: int):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    spread = rng.normal(size=(dimensions, dimensions)) * rng.lognormal(size=dimensions)
    return rng.normal(size=(count, dimensions)) @ spread + rng.normal(size=(classes, dimensions))[labels] * 3, labels


def test_reduction_then_reconstruction_is_the_pca_projection(cut):
    from sklearn.decomposition import PCA

    _, _, features, labels = cut
    fitted, _ = reduction.fit(tiny_zoo.model("reduced_simple"), features, labels, cut[1], seed=1)
    rows = features.reshape(len(features), -1).astype(np.float64)
    reduced = rows @ fitted["reduce/kernel"] + fitted["reduce/bias"]
    back = reduced @ fitted["reconstruct/kernel"] + fitted["reconstruct/bias"]
    pca = PCA(DIMENSIONS, svd_solver="full").fit(rows)
    np.testing.assert_allclose(back, pca.inverse_transform(pca.transform(rows)), atol=1e-3 * np.abs(rows).max())
    np.testing.assert_allclose(reduced.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(reduced.T, ddof=0), np.eye(DIMENSIONS), atol=1e-3)
    again = back @ fitted["reduce/kernel"] + fitted["reduce/bias"]  # a projection changes nothing the second time
    np.testing.assert_allclose(again, reduced, atol=1e-3)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(8, 40), st.integers(6, 12))
def test_randomized_pca_reconstructs_as_well_as_the_exact_one(seed, dimensions, count, width):
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    down, up = reduction.principal(rows.reshape(count, 1, 1, width), dimensions, seed)
    pca = PCA(dimensions, svd_solver="full").fit(rows)
    # Not the projections: where two singular values are nearly equal, either of their directions is as good.
    ours, exact = (
        np.square(rows - back).sum() for back in (up(down(rows)), pca.inverse_transform(pca.transform(rows)))
    )
    assert ours <= 1.001 * exact + 1e-4
    np.testing.assert_allclose(up(down(up(down(rows)))), up(down(rows)), atol=1e-4)  # a projection


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 5), st.floats(0, 3))
def test_scaled_components_are_alike_and_can_be_undone(seed, dimensions, classes, relevance):
    codes, labels = clouds(seed, 200, dimensions, classes)
    scale, share = reduction.scaling(codes, labels, relevance)
    scaled = scale(codes)
    np.testing.assert_allclose(scale.inverse()(scaled), codes, atol=1e-6 * np.abs(codes).max())
    covariance = np.cov(scaled.T, ddof=0).reshape(dimensions, dimensions)
    expected = np.clip(share, reduction.LEAST_RELEVANCE, 1) ** relevance
    np.testing.assert_allclose(covariance, np.diag(expected if relevance else np.ones(dimensions)), atol=1e-6)
    assert (-1e-9 <= share).all() and (share <= 1 + 1e-9).all()
    if relevance:
        assert (np.diff(share) <= 1e-9).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 5), st.floats(0.01, 3))
def test_the_estimate_has_the_least_error_of_its_kind(seed, dimensions, sigma):
    codes, labels = clouds(seed, 300, dimensions, 2)
    sent = clip(reduction.scaling(codes, labels, 0.0)[0](codes), 2.0)
    found = reduction.estimate(codes, sent, sigma)

    def error(kernel, bias):
        """Expected squared error over the noise."""
        return np.square(sent @ kernel + bias - codes).sum(1).mean() + sigma**2 * np.square(kernel).sum()

    least = error(found.kernel, found.bias)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        assert error(found.kernel + 0.1 * rng.normal(size=found.kernel.shape), found.bias) >= least
        assert error(found.kernel, found.bias + 0.1 * rng.normal(size=dimensions)) >= least
    exact = reduction.estimate(codes, reduction.scaling(codes, labels, 1.0)[0](codes), 0.0)
    np.testing.assert_allclose(
        exact.kernel, reduction.scaling(codes, labels, 1.0)[0].inverse().kernel, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("name", ["reduced_simple", "noisy_reduced_simple"])
def test_without_noise_head_and_tail_are_the_network_on_the_subspace(cut, name):
    head, tail, features, labels = cut
    model = tiny_zoo.model(name, refit=False)
    if model.noise:
        model = dataclasses.replace(model, noise=NoiseConfig(1e-9, 1e9))
    fitted, _ = reduction.fit(model, features, labels, tail, seed=1)
    down, up = reduction.basis_of(model, features, labels, tail, seed=1)
    own_head, own_tail = attached(cut, model, fitted)
    chips = tiny_zoo.chips()[0].astype(np.float32)
    rows = features.reshape(len(features), -1)
    subspace = up(down(rows)).reshape(features.shape).astype(np.float32)
    np.testing.assert_allclose(own_tail(own_head(chips)), tail(subspace), atol=1e-4)
    assert own_head.output_shape == (None, DIMENSIONS)
    assert own_tail.input.name == "features" and own_head.input.name == "image"


def test_the_classifier_is_fitted_to_what_arrives_and_stays_the_models_own(cut):
    head, tail, features, labels = cut
    model = tiny_zoo.model("noisy_reduced_simple")
    before = [np.array(w) for w in tail.get_layer("fc8").get_weights()]
    fitted, facts = reduction.fit(model, features, labels, tail, seed=1)
    _, own_tail = attached(cut, model, fitted)
    assert [np.array_equal(*pair) for pair in zip(before, tail.get_layer("fc8").get_weights(), strict=True)] == [
        True
    ] * 2
    assert own_tail.get_layer("fc8") is not tail.get_layer("fc8")
    np.testing.assert_allclose(own_tail.get_layer("fc8").get_weights()[0], fitted["fc8/kernel"])
    reduced = features.reshape(len(features), -1) @ fitted["reduce/kernel"] + fitted["reduce/bias"]
    answers = np.asarray(own_tail(reduction.noisy(reduced, model.noise, seed=5))).argmax(1)
    assert np.mean(answers == labels) > 0.8  # the random network's own classifier guesses
    assert 0 <= facts["share_clipped"] <= 1


def test_seven_classes_are_fitted_too(cut):
    import keras

    from privzoo.architectures import graph

    _, tail, features, _ = cut
    wide = graph.chain(
        [*graph.layers(tail)[:-2], keras.layers.Dense(7, name="fc8"), keras.layers.Softmax()],
        tail.input_shape[1:],
        "features",
        "tail",
    )
    model = tiny_zoo.model("noisy_reduced_simple")
    fitted, _ = reduction.fit(model, features, np.arange(len(features)) % 7, wide, seed=1)
    assert fitted["fc8/kernel"].shape == (512, 7) and fitted["fc8/bias"].shape == (7,)


@pytest.mark.parametrize(("weight", "falls"), [(0.0, "task"), (100.0, "reconstruction")])
def test_the_auto_encoder_learns_task_and_reconstruction(cut, monkeypatch, weight, falls):
    _, tail, features, labels = cut
    model = tiny_zoo.model("reduced_simple", reduction="autoencoder", dimensions=2)
    monkeypatch.setattr(reduction, "RECONSTRUCTION", weight)
    start = reduction.principal(features, 2, seed=1)
    off = np.random.default_rng(0).normal(0, 0.01, start[0].kernel.shape)
    worse = (reduction.Linear(start[0].kernel + off, start[0].bias), start[1])
    before = [np.array(w) for w in tail.get_weights()]
    down, up = reduction.autoencoder(worse, features, labels, tail, seed=1)
    rows = features.reshape(len(features), -1)

    def loss(pair):
        back = pair[1](pair[0](rows))
        right = np.asarray(tail(back.reshape(features.shape).astype(np.float32)))[np.arange(len(labels)), labels]
        return {"task": -np.log(right).mean(), "reconstruction": np.square(back - rows).mean()}[falls]

    assert loss((down, up)) < loss(worse)
    assert all(np.array_equal(*pair) for pair in zip(before, tail.get_weights(), strict=True))
    fitted, _ = reduction.fit(model, features, labels, tail, 1, (down, up))
    np.testing.assert_allclose(
        attached(cut, model, fitted)[1](rows @ fitted["reduce/kernel"] + fitted["reduce/bias"]),
        tail(up(down(rows)).reshape(features.shape).astype(np.float32)),
        atol=1e-4,
    )


def test_models_that_cannot_be_attached(cut):
    features, labels = cut[2:]
    model = tiny_zoo.model("reduced_simple")
    with pytest.raises(WeightsError, match="tools/fit.py"):
        attached(cut, model, {})
    fitted, _ = reduction.fit(model, features, labels, cut[1], seed=1)
    with pytest.raises(ConfigError, match="fit it again"):
        attached(cut, dataclasses.replace(model, dimensions=2), fitted)
    with pytest.raises(ConfigError, match="number of them"):
        embeddings.get("reduced_simple").attach(*cut[:2], fitted, tiny_zoo.model("simple"))
    with pytest.raises(ConfigError, match="no noise"):
        attached(cut, dataclasses.replace(model, embedding="advanced"), fitted)
    with pytest.raises(ConfigError, match="principal components"):
        reduction.principal(features, 65, seed=1)
    with pytest.raises(UnknownNameError, match="advanced"):
        embeddings.get("none")


def test_a_step_leaves_a_few_whole_numbers(cut):
    head, tail, features, labels = cut
    model = tiny_zoo.model("reduced_simple", step=0.5, relevance=1.0)
    fitted, facts = reduction.fit(model, features, labels, tail, seed=1)
    own_head, own_tail = attached(cut, model, fitted)
    sent = np.asarray(own_head(tiny_zoo.chips()[0].astype(np.float32)))
    assert np.array_equal(sent, np.rint(sent))
    assert [len(np.unique(column)) for column in sent.T] == facts["levels"]
    finer, _ = reduction.fit(dataclasses.replace(model, step=1e-4), features, labels, tail, seed=1)
    rows = features.reshape(len(features), -1)
    down, up = reduction.basis_of(model, features, labels, tail, seed=1)
    back = np.rint(rows @ finer["reduce/kernel"] + finer["reduce/bias"]) @ finer["reconstruct/kernel"]
    np.testing.assert_allclose(back + finer["reconstruct/bias"], up(down(rows)), atol=1e-2)
    assert np.isfinite(own_tail(sent)).all()


def test_a_step_rounds_an_unreduced_feature_too(cut):
    whole_head, whole_tail = cut[:2]
    model = tiny_zoo.model("simple", step=0.25)
    head, tail = embeddings.get("simple").attach(whole_head, whole_tail, {}, model)
    images = tiny_zoo.chips()[0].astype(np.float32)
    activation, sent = np.asarray(whole_head(images)), np.asarray(head(images))
    np.testing.assert_array_equal(sent, np.rint(activation / 0.25))
    np.testing.assert_allclose(tail(sent), whole_tail(sent * 0.25), atol=1e-6)


@pytest.mark.parametrize("changed", [{"sigma": 0.0}, {"clip": -1.0}, {"sigma": float("nan")}])
def test_noise_that_cannot_be_is_refused(changed):
    with pytest.raises(ConfigError, match="invalid"):
        dataclasses.replace(NOISE, **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"relevance": -0.1},
        {"step": 0.0},
        {"dimensions": 0},
        {"dimensions": None, "refit": True},
        {"noise": NOISE, "step": 1.0},
    ],
)
def test_reductions_that_cannot_be_are_refused(changed):
    with pytest.raises(ConfigError, match="vgg_s_tiny"):
        tiny_zoo.model("reduced_simple", **changed)
    with pytest.raises(ConfigError, match="one of 'pca', 'autoencoder'"):
        config.from_dict(config.ModelConfig, config.to_dict(tiny_zoo.model("siamese")) | {"reduction": "lda"}, "it")
