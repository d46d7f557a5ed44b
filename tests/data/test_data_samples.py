"""Samples, splits and arrays: what is read, what is left out and how it is counted."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter

import numpy as np
import pytest
from data_fakes import encoded, jpeg, picture, write_folder
from hypothesis import given
from hypothesis import strategies as st

from privzoo import faces
from privzoo.data import Dataset, Sample, arrays
from privzoo.data.files import Folder
from privzoo.data.samples import ReadImage, check_split, hash_split, in_validation, warn_skipped
from privzoo.errors import ConfigError, DataError, ImageError


def shown(name: str, image: np.ndarray, **labels) -> Sample:
    return Sample(name, lambda: image, labels)


def broken(name: str, **labels) -> Sample:
    def image():
        raise ImageError(f"{name} is damaged.")

    return Sample(name, image, labels)


@given(st.lists(st.text(min_size=1), unique=True))
def test_train_and_validation_are_a_partition(names):
    samples = [Sample(name, lambda: None, {}) for name in names]
    train, validation = hash_split(samples, "train"), hash_split(samples, "validation")
    assert {s.name for s in train} | {s.name for s in validation} == set(names)
    assert len(train) + len(validation) == len(names)
    assert hash_split(samples, "all") == samples


@given(st.text())
def test_validation_is_protocol_1(path):
    assert in_validation(path) == (int.from_bytes(hashlib.md5(path.encode()).digest(), "big") % 10 == 0)


def test_protocol_1_is_fixed():
    # Written down once, from the protocol's words: a change of the rule makes figures incomparable.
    assert in_validation("UTKFace/100_1_0_20170119212053665.jpg.chip.jpg")
    assert not in_validation("UTKFace/100_0_0_20170112213500903.jpg.chip.jpg")


def test_unknown_split_is_named():
    with pytest.raises(ConfigError, match="'valid' is unknown: use one of train, validation, all"):
        hash_split([], "valid")
    check_split("test", ("train", "test"))


def test_arrays_resizes_and_keeps_order():
    samples = [shown(str(i), np.full((20 + i, 20 + i, 3), i, np.uint8), gender=i % 2) for i in range(5)]
    images, gender = arrays(samples, 8, "gender")
    assert images.shape == (5, 8, 8, 3) and images.dtype == np.uint8
    assert (images == np.arange(5)[:, None, None, None]).all()
    assert gender.tolist() == [0, 1, 0, 1, 0] and gender.dtype == np.int64


@given(st.integers(1, 40), st.integers(1, 40))
def test_arrays_uses_the_chips_arithmetic(side, size):
    image = picture(side)
    images, _ = arrays([shown("x", image)], size)
    assert (images[0] == faces.resize(image, size)).all()


def test_arrays_keeps_the_stored_size():
    images, labels = arrays(Dataset("x", [shown("a", picture(12, 10)), shown("b", picture(12, 10, 1))], {}), None)
    assert images.shape == (2, 10, 12, 3) and labels == {}
    assert (images[1] == picture(12, 10, 1)).all()


def test_arrays_refuses_different_stored_sizes():
    with pytest.raises(DataError, match="b has 9x9 pixels and the images before it 8x8: give a size"):
        arrays([shown("a", picture(8)), shown("b", picture(9))], None)


def test_arrays_skips_damaged_images_and_counts_them(caplog):
    samples = [broken("a", age=1), shown("b", picture(8), age=2), broken("c", age=3), shown("d", picture(8))]
    skipped = Counter({"damaged image": 5})
    with caplog.at_level(logging.WARNING, "privzoo.data"):
        images, age = arrays(samples, 8, "age", skipped=skipped)
    assert len(images) == 1 and age.tolist() == [2]
    assert skipped == {"damaged image": 7, "without the label age": 1}
    assert "3 files skipped: 2 damaged image, 1 without the label age" in caplog.text


def test_arrays_says_nothing_when_all_is_well(caplog):
    with caplog.at_level(logging.WARNING, "privzoo.data"):
        arrays([shown("a", picture(8))], 8)
    assert not caplog.text


def test_arrays_gives_the_labels_that_all_samples_have():
    a = shown("a", picture(8), gender=0, age=30.5, person="x")
    b = shown("b", picture(8), gender=1, age=31.0, person="yy", race=2)
    _, labels = arrays([a, b], 8)
    assert list(labels) == ["gender", "age", "person"]
    assert labels["age"].dtype == np.float64 and labels["person"].tolist() == ["x", "yy"]


def test_arrays_with_nothing_left_says_why():
    with pytest.raises(DataError, match=r"No usable image is left of 2 \(2 damaged image\)"):
        arrays([broken("a"), broken("b")], 8)
    with pytest.raises(DataError, match=r"No usable image is left of 0 \(there was none\)"):
        arrays([], 8)


def test_arrays_shows_progress(capsys):
    pytest.importorskip("tqdm")
    arrays([shown("a", picture(8))], 8, progress=True)
    assert "reading images" in capsys.readouterr().err


def test_arrays_lets_other_errors_pass():
    def image():
        raise MemoryError

    with pytest.raises(MemoryError):
        arrays([Sample("a", image, {})], 8)


@pytest.mark.parametrize(
    "content",
    [b"", b"this is text", jpeg(64)[:400], jpeg(64)[:-200], encoded(picture(64), "PNG")[:-100]],
    ids=["empty", "text", "head only", "cut off", "png cut off"],
)
def test_damaged_file_is_refused_by_name_and_skipped_in_bulk(tmp_path, content):
    files = Folder(write_folder({"bad.jpg": content, "good.jpg": jpeg(64)}, tmp_path))
    samples = [Sample(name, ReadImage(files, name, f"set/{name}"), {"age": 1}) for name in files.names()]
    with pytest.raises(ImageError, match=r"set/bad\.jpg"):
        samples[0].image()
    skipped = Counter()
    images, _ = arrays(samples, 32, skipped=skipped)
    assert len(images) == 1 and skipped == {"damaged image": 1}


def test_file_removed_after_loading_is_skipped(tmp_path):
    files = Folder(write_folder({"a.jpg": jpeg(16), "b.jpg": jpeg(16)}, tmp_path))
    samples = [Sample(name, ReadImage(files, name, name), {}) for name in files.names()]
    (tmp_path / "a.jpg").unlink()
    assert len(arrays(samples, 16)[0]) == 1


def test_grey_image_becomes_rgb(tmp_path):
    files = Folder(write_folder({"a.jpg": encoded(picture(16)[:, :, 0])}, tmp_path))
    image = ReadImage(files, "a.jpg", "a.jpg")()
    assert image.shape == (16, 16, 3) and (image == image[:, :, :1]).all()


def test_error_of_the_cut_names_the_image(tmp_path):
    def cut(image):
        raise ImageError("Too small.")

    files = Folder(write_folder({"a.jpg": jpeg(16)}, tmp_path))
    with pytest.raises(ImageError, match=r"set/a\.jpg: Too small"):
        ReadImage(files, "a.jpg", "set/a.jpg", cut)()


def test_warn_skipped_lists_every_reason(caplog):
    with caplog.at_level(logging.WARNING, "privzoo.data"):
        warn_skipped("set", Counter())
        warn_skipped("set", Counter(b=2, a=1))
    assert caplog.messages == ["set: 3 files skipped: 1 a, 2 b"]


def test_dataset_has_a_length():
    assert len(Dataset("x", [shown("a", picture(4))], {})) == 1
