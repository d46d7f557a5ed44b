"""Arabic Speech Commands' loader, on fake sets in the official layout."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from data_fakes import FORMS, place, write_folder

from privzoo.audio.synthesis import words
from privzoo.data import arabic_speech, arrays
from privzoo.errors import ConfigError, DataError

FOLDER = "arabic_speech_commands"
KEYWORDS = ("zero", "zoom in", "backward")
SPEAKERS = {"train": ("00000007", "00000001"), "val": ("00000002",), "test": ("00000030",)}


def recording(seed: int, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, words(1, seed)[0], 16_000, format=kind)
    return file.getvalue()


def table(rows: list[tuple[str, str]]) -> bytes:
    return "\n".join(["file,class", *(",".join(row) for row in rows), ""]).encode()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Each speaker says each keyword once; the tables name .opus files, as some copies do, and the files are .wav."""
    made, tables = {"LICENSE": b""}, {}
    for part, speakers in SPEAKERS.items():
        stems = [(f"dataset/{word}/{who}_NO_03", word) for who in speakers for word in KEYWORDS]
        made |= {f"{stem}.wav": recording(seed) for seed, (stem, _) in enumerate(stems)}
        tables[f"{part}.csv"] = table([(f"{stem}.opus", word) for stem, word in stems])
    return made | tables


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_load(tmp_path, files, form, split):
    data = arabic_speech.load(place(files, tmp_path, form, FOLDER), split)
    everyone = sorted({"00000007", "00000001", "00000002", "00000030"})
    clips, labels = arrays(data, None)
    speakers = [data.classes["identity"][i] for i in labels["identity"]]
    part = {"validation": "val"}.get(split, split)
    expected = [who for name in (SPEAKERS if split == "all" else (part,)) for who in SPEAKERS[name] for _ in KEYWORDS]
    assert speakers == expected and list(data.classes["identity"]) == everyone
    assert clips.shape == (len(expected), 16_000) and clips.dtype == np.int16
    assert [data.classes["keyword"][i] for i in labels["keyword"]] == list(KEYWORDS) * (len(expected) // 3)
    assert set(labels["round"]) == {3} and not data.skipped
    assert data.samples[0].name == f"{FOLDER}/dataset/zero/{expected[0]}_NO_03.wav"
    np.testing.assert_array_equal(clips[0], words(1, 0)[0])


def test_a_speaker_has_the_same_number_in_every_split(tmp_path, files):
    root = write_folder(files, tmp_path)
    numbers = {}
    for split in ("train", "validation", "test", "all"):
        for sample in arabic_speech.load(root, split).samples:
            assert numbers.setdefault(sample.name, sample.person) == sample.person


def test_forty_keywords_in_the_alphabet_s_order():
    assert len(arabic_speech.KEYWORDS) == 40 == len(set(arabic_speech.KEYWORDS))
    assert list(arabic_speech.KEYWORDS) == sorted(arabic_speech.KEYWORDS)


def test_what_cannot_be_used_is_skipped_and_counted(tmp_path, files, caplog):
    rows = [
        ("dataset/zero/00000007_NO_03.wav", "zero"),
        ("dataset/zero/00000009_NO_03.wav", "zero"),
        ("dataset/zero/00000007_NO_03.wav", "seldom"),
        ("dataset/zero/somebody.wav", "zero"),
    ]
    root = write_folder(files | {"train.csv": table(rows), "dataset/zero/00000007_NO_03.wav": b"no sound"}, tmp_path)
    data = arabic_speech.load(root)
    assert data.skipped == {"recording missing": 1, "damaged line in train.csv": 2} and "3 files skipped" in caplog.text
    with pytest.raises(DataError, match="1 unusable recording"):
        arrays(data, None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train.csv": None}, "has no train.csv"),
        ({"train.csv": b"path,word\na,b\n"}, r"has the columns \['path', 'word'\]; its first line must be file,class"),
        ({"train.csv": b"file,class\n\xff,zero\n"}, "is not a CSV in UTF-8"),
        ({"train.csv": b"file,class\n"}, "no usable recording of the split train"),
    ],
)
def test_other_layouts_are_refused_in_words(tmp_path, files, changed, said):
    kept = {name: content for name, content in (files | changed).items() if content is not None}
    with pytest.raises(DataError, match=said):
        arabic_speech.load(write_folder(kept, tmp_path))


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'val' is unknown: use one of train, validation, test, all"):
        arabic_speech.load(tmp_path, "val")
