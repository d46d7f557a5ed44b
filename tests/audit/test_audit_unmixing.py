"""Unmixing DataMix's requests: independent images come back, Gaussian noise does not, and wrong input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from privzoo.audit.attacks import matching, regrouping, spans, unmixing
from privzoo.errors import ConfigError, FeatureError


def drawings(count: int, seed: int, side: int = 40, channels: int = 1) -> np.ndarray:
    """Images with sharp edges at places of their own: rectangles on a smooth ground, 0..255."""
    rng = np.random.default_rng(seed)
    images = 20 * ndimage.gaussian_filter(rng.normal(size=(count, side, side)), (0, 4, 4)) + 100
    for image in images:
        for _ in range(8):
            top, left = rng.integers(0, side - 4, 2)
            height, width = rng.integers(3, side // 2, 2)
            image[top : top + height, left : left + width] += rng.normal(0, 40)
    gains = rng.uniform(0.5, 2, channels)
    return (images[..., None] * gains).astype(np.float32)


def mixed(images: np.ndarray, seed: int) -> np.ndarray:
    turn = stats.ortho_group.rvs(len(images), random_state=seed)
    return np.tensordot(turn, images, 1).astype(np.float32)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_independent_images_come_back(size):
    images = drawings(size, seed=size)
    found = unmixing.unmix(mixed(images, size))
    assert found.converged and matching.correlations(found.images, images).min() > 0.95


@pytest.mark.slow
def test_gaussian_noise_does_not_come_back():
    """What is Gaussian looks the same from every direction: there is nothing to find."""
    found = []
    for seed in range(4):
        images = np.random.default_rng(seed).normal(size=(8, 32, 32, 1))
        found.append(matching.correlations(unmixing.unmix(mixed(images, seed)).images, images))
    assert (np.concatenate(found) > 0.9).mean() < 0.05


def test_other_coefficients_do_not_help():
    images, rng = drawings(4, 1), np.random.default_rng(1)
    for matrix in (rng.normal(size=(4, 4)), rng.dirichlet(np.ones(4), 4)):
        mixtures = np.tensordot(matrix, images, 1)
        found = unmixing.unmix(mixtures, orthogonal=False)
        assert matching.correlations(found.images, images).min() > 0.95


def test_images_of_many_channels_come_back():
    images = drawings(4, 3, channels=16)
    assert matching.correlations(unmixing.unmix(mixed(images, 3)).images, images).min() > 0.95


def test_a_coarser_filter_is_chosen_where_noise_hides_the_finest():
    images, rng = drawings(4, 5, side=64), np.random.default_rng(5)
    mixtures = mixed(images, 5)
    noisy = mixtures + 0.2 * mixtures.std() * rng.normal(size=mixtures.shape)
    fine, coarse = unmixing.unmix(mixtures), unmixing.unmix(noisy)
    sigma = {one.name: one.sigma for one in unmixing.BANK}
    assert sigma[coarse.filter] > sigma[fine.filter]
    assert np.median(matching.correlations(matching.denoised(coarse.images), images)) > 0.9


def test_what_all_faces_share_is_learnt_from_others():
    """Images that are alike are not independent; an attacker with images of his own takes out what they share."""
    face = 3 * drawings(1, 100)

    def faces(count: int, seed: int) -> np.ndarray:
        return face + drawings(count, seed)

    images = faces(6, 1)
    mixtures = mixed(images, 1)
    own = unmixing.learn(faces(60, 2))
    alone, helped = (matching.correlations(unmixing.unmix(mixtures, k).images, images) for k in (None, own))
    assert helped.mean() > alone.mean() and helped.min() > 0.95


@pytest.mark.parametrize("shift", [0, 128], ids=["pixels", "about 0, as networks want them"])
def test_signs_are_those_of_faces(shift):
    usual = 250 * (np.arange(40) > 20)[:, None] - 2 * shift  # what all share
    sent, others = (drawings(count, count) + usual for count in (4, 30))
    known = unmixing.learn(others) if shift else None
    found = unmixing.unmix(mixed(sent, 7), known).images
    partners, _ = matching.paired(found, sent)
    pairs = zip(found[partners], sent, strict=True)
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0 for a, b in pairs)


def test_coefficients_give_the_images():
    mixtures = mixed(drawings(4, 8), 8)
    found = unmixing.unmix(mixtures)
    assert np.allclose(np.tensordot(found.coefficients, mixtures, 1), found.images, atol=1e-2)
    assert np.allclose(np.linalg.norm(found.coefficients, axis=1), 1)


def test_one_seed_gives_one_result():
    mixtures = mixed(drawings(4, 9), 9)
    assert np.array_equal(unmixing.unmix(mixtures, seed=3).images, unmixing.unmix(mixtures, seed=3).images)


def test_a_run_that_does_not_converge_still_answers(monkeypatch):
    monkeypatch.setattr(unmixing, "STEPS", 1)
    found = unmixing.unmix(mixed(drawings(4, 10), 10))
    assert not found.converged and np.isfinite(found.images).all() and len(found.images) == 4


def test_mixtures_that_depend_on_each_other_give_as_many_images_as_there_are():
    """More mixtures than images: one face and the same covers under two keys."""
    images = drawings(3, 11)
    both = np.concatenate([mixed(images, 1), mixed(images, 2)])
    found = unmixing.unmix(both)
    assert len(found.images) == 3 and matching.correlations(found.images, images).min() > 0.95


def test_flat_mixtures_are_no_failure():
    assert np.isfinite(unmixing.unmix(np.ones((3, 16, 16, 1))).images).all()


def test_a_shuffled_request_is_put_together():
    groups, size = 6, 4
    images = drawings(groups * size, 12)
    mixtures = np.concatenate([mixed(images[g * size : (g + 1) * size], g) for g in range(groups)])
    order = np.random.default_rng(1).permutation(len(mixtures))
    recovered, found = regrouping.unmix_request(mixtures[order], size)
    assert np.bincount(found).tolist() == [size] * groups
    assert all(len(set(found[order // size == g])) == 1 for g in range(groups))
    assert matching.correlations(recovered, images).min() > 0.9


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_groups_are_balanced_whatever_is_alike(groups, size, seed):
    rng = np.random.default_rng(seed)
    alike = rng.random((groups * size, groups * size))
    alike = np.where(rng.random() < 0.3, 0.0, alike)  # nothing tells them apart
    assert np.bincount(regrouping.balanced_groups(alike, size), minlength=groups).tolist() == [size] * groups


@settings(max_examples=25)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_clear_groups_are_found_in_any_order(groups, size, seed):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(groups), size))
    alike = (truth[:, None] == truth) + 0.3 * rng.random((len(truth), len(truth)))
    found = regrouping.balanced_groups(alike, size)
    assert len(set(zip(found.tolist(), truth.tolist(), strict=True))) == groups


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_correlations_ignore_order_sign_scale_and_brightness(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 8, 8, 1))
    other = images[rng.permutation(count)] * rng.choice([-3.0, 0.5], (count, 1, 1, 1)) + 7
    assert matching.correlations(other, images) == pytest.approx(np.ones(count))


def test_originals_without_a_partner_count_as_lost():
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
    assert sorted(matching.correlations(images[:1], images)) == pytest.approx([0, 0, 1])


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 2**32 - 1), st.booleans())
def test_a_face_under_two_keys_is_found_by_algebra_alone(size, requests, seed, positive):
    """Noise images and any coefficients: no property of images, and no independence, is used."""
    rng = np.random.default_rng(seed)
    face = rng.normal(size=(1, 8, 8, 2))

    def request() -> np.ndarray:
        covers = rng.normal(size=(size - 1, 8, 8, 2))
        matrix = rng.uniform(0.1, 1, (size, size)) if positive else rng.normal(size=(size, size))
        return np.tensordot(matrix + 3 * np.eye(size), np.concatenate([covers, face]), 1)

    found, strength = spans.shared([request() for _ in range(requests)])
    assert matching.correlations(found, face)[0] > 1 - 1e-6
    assert strength[0] == pytest.approx(1, abs=1e-5)


def test_requests_without_a_common_image_say_so():
    rng = np.random.default_rng(0)
    _, strength = spans.shared([rng.normal(size=(4, 48, 48, 1)) for _ in range(2)])
    assert strength[0] < 0.75


def test_many_requests_average_the_noise_away():
    face, rng = drawings(1, 30, side=48), np.random.default_rng(3)
    found = []
    for count in (2, 16):
        requests = [mixed(np.concatenate([face, drawings(3, 40 + i, side=48)]), i) for i in range(count)]
        noisy = [one + 0.5 * one.std(axis=(1, 2, 3), keepdims=True) * rng.normal(size=one.shape) for one in requests]
        found.append(matching.correlations(spans.shared(noisy)[0], face)[0])
    assert found[0] > 0.85 and found[1] > max(found[0], 0.97)


def test_noise_is_measured_and_taken_out():
    rng = np.random.default_rng(0)
    images = drawings(3, 20, side=64)
    noisy = images + rng.normal(0, 25, images.shape).astype(np.float32)
    assert matching.noise_level(noisy[0, ..., 0]) == pytest.approx(25, rel=0.15)
    clean = matching.denoised(noisy)
    assert np.square(clean - images).mean() < 0.5 * np.square(noisy - images).mean()
    assert np.array_equal(matching.denoised(images), images)


GOOD = np.random.default_rng(0).normal(size=(4, 16, 16, 1))


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: unmixing.unmix(GOOD[..., 0]), "of shape (4, 16, 16); give numbers of shape (n, height, width"),
        (lambda: unmixing.unmix(GOOD[:1]), "two images or more"),
        (lambda: unmixing.unmix(GOOD.astype(str)), "give numbers"),
        (lambda: unmixing.unmix(GOOD[:, :4]), "at least 8x8"),
        (lambda: unmixing.unmix(np.where(GOOD > 2, np.nan, GOOD)), "NaN"),
        (lambda: unmixing.unmix(GOOD, unmixing.learn(GOOD[:, :12])), "learn from images of the mixtures' shape"),
        (lambda: spans.shared([GOOD]), "give two or more"),
        (lambda: spans.shared([GOOD, GOOD[:, :12]]), "one shape"),
        (lambda: matching.correlations(GOOD, GOOD[:, :12]), "one shape"),
    ],
)
def test_wrong_shapes_give_one_sentence(call, said):
    with pytest.raises(FeatureError) as error:
        call()
    assert said in str(error.value) and str(error.value).count(". ") == 0


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_groups_have_to_be_whole(size):
    with pytest.raises(ConfigError, match=rf"4 mixtures do not make groups of {size};"):
        regrouping.unmix_request(GOOD, size)


@pytest.mark.parametrize("count", [0, 5])
def test_no_more_images_are_in_common_than_there_are(count):
    with pytest.raises(ConfigError, match=f"count={count} images"):
        spans.shared([GOOD, GOOD], count)
