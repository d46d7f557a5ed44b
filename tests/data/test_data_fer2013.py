"""FER2013's loader, on fake sets in both layouts: image folders and the original table."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from data_fakes import FORMS, encoded, picture, place, write_folder, write_zip
from hypothesis import given
from hypothesis import strategies as st

from privzoo.data import arrays, fer2013
from privzoo.errors import ConfigError, DataError

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TABLE_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
PER_SPLIT = {"train": 3, "validation": 1, "test": 2}
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
PIXELS = picture(48)[:, :, 0]


@pytest.fixture(scope="module")
def files():
    image = encoded(PIXELS)
    return {
        f"{split}/{emotion}/{usage}_{number}.jpg": image
        for split, usage in USAGES.items()
        for emotion in EMOTIONS
        for number in range(PER_SPLIT[split])
    }


def row(emotion: int | str, pixels: np.ndarray, usage: str) -> str:
    return f"{emotion},{' '.join(map(str, pixels.ravel()))},{usage}"


@pytest.fixture(scope="module")
def table() -> bytes:
    rows = [
        row(emotion, np.roll(PIXELS, emotion), USAGES[split])
        for split, count in PER_SPLIT.items()
        for emotion in range(7)
        for _ in range(count)
    ]
    return "\n".join(["emotion,pixels,Usage", *rows, ""]).encode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_load_folders(tmp_path, files, form, split):
    data = fer2013.load(place(files, tmp_path, form, "fer2013"), split)
    each = PER_SPLIT.get(split, sum(PER_SPLIT.values()))
    images, emotions = arrays(data, None, "emotion")
    assert images.shape == (7 * each, 48, 48, 3) and (np.bincount(emotions) == each).all()
    assert data.classes == {"emotion": EMOTIONS} and not data.skipped
    for sample in data.samples:
        folder, part, emotion, _ = sample.name.split("/")
        assert (folder, EMOTIONS[sample.labels["emotion"]]) == ("fer2013", emotion)
        assert split in (part, "all")


@pytest.mark.parametrize("form", [*FORMS, "table", "table in parent"])
@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_load_table(tmp_path, table, form, split):
    if form.startswith("table"):
        root = write_folder({"fer2013.csv": table}, tmp_path)
        root = root / "fer2013.csv" if form == "table" else root
    else:
        root = place({"fer2013.csv": table, "README": b""}, tmp_path, form, "fer2013")
    data = fer2013.load(root, split)
    each = PER_SPLIT.get(split, sum(PER_SPLIT.values()))
    images, emotions = arrays(data, None, "emotion")
    assert images.shape == (7 * each, 48, 48, 3) and (np.bincount(emotions) == each).all()
    for image, emotion in zip(images, emotions, strict=True):
        shift = TABLE_EMOTIONS.index(EMOTIONS[emotion])
        assert (image == np.roll(PIXELS, shift)[:, :, None]).all()


@pytest.mark.parametrize(
    "bad",
    [
        "7," + row(0, PIXELS, "Training").partition(",")[2],
        "x," + row(0, PIXELS, "Training").partition(",")[2],
        row("-1", PIXELS, "Training"),
        row(0, PIXELS[1:], "Training"),
        row(0, PIXELS.astype(int) + 200, "Training"),
        row(0, PIXELS.astype(int) - 200, "Training"),
        row(0, PIXELS, "Training").replace(" ", " x ", 1),
        row(0, PIXELS, "Testing"),
        "0,,Training",
        "0",
    ],
)
def test_damaged_row_is_skipped_and_counted(tmp_path, bad, caplog):
    content = "\n".join(["emotion,pixels,Usage", bad, row(1, PIXELS, "Training")])
    data = fer2013.load(write_folder({"fer2013.csv": content.encode()}, tmp_path))
    assert [s.labels["emotion"] for s in data.samples] == [EMOTIONS.index("disgust")]
    assert data.samples[0].name == "fer2013.csv:1"
    assert data.skipped == {"damaged row": 1} and "1 damaged row" in caplog.text


@given(st.binary(max_size=400))
def test_any_bytes_as_table_are_refused_in_words(tmp_path_factory, content):
    root = write_folder({"fer2013.csv": content}, tmp_path_factory.mktemp("fer"))
    with pytest.raises(DataError):
        fer2013.load(root)


def test_table_with_other_columns_is_refused(tmp_path):
    root = write_folder({"fer2013.csv": b"emotion,pixels\n0,1 2\n"}, tmp_path)
    with pytest.raises(DataError, match=r"has the columns \['emotion', 'pixels'\], but emotion, pixels and Usage"):
        fer2013.load(root)


def test_damaged_zip_of_the_table_is_refused(tmp_path, table):
    path = write_zip({"fer2013.csv": table}, tmp_path / "x.zip")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("fer2013.csv").header_offset + 100
    content = bytearray(path.read_bytes())
    content[start] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"fer2013\.csv cannot be read to its end \(Bad CRC-32"):
        fer2013.load(path)


def test_folder_that_is_no_emotion_is_skipped_and_counted(tmp_path, files):
    root = write_folder(files | {"train/bored/1.jpg": encoded(PIXELS), "train/happy/notes.txt": b""}, tmp_path)
    data = fer2013.load(root)
    assert len(data) == 21 and data.skipped == {"in a folder bored, which is not an emotion": 1}


def test_folders_of_emotions_may_be_capitalised(tmp_path):
    data = fer2013.load(write_folder({"train/Happy/1.jpg": encoded(PIXELS)}, tmp_path))
    assert data.samples[0].labels == {"emotion": 3}


def test_missing_split_is_named(tmp_path):
    root = write_folder({"train/happy/1.jpg": encoded(PIXELS)}, tmp_path)
    with pytest.raises(DataError, match="no usable FER2013 image for the split validation: give fer2013.csv"):
        fer2013.load(root, "validation")


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'valid' is unknown: use one of train, validation, test, all"):
        fer2013.load(tmp_path, "valid")
