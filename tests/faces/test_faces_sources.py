"""Where images come from: open files, columns of paths, pipes; and what is skipped of many."""

from __future__ import annotations

import copy
import dataclasses
import io
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from image_helpers import as_images
from PIL import Image

from privzoo import faces
from privzoo.errors import ConfigError, FaceNotFoundError, ImageError
from privzoo.faces import Answers, Skipped, images
from privzoo.faces.images import decode


def png(grey: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (grey,) * 3).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    found = []
    for grey in (10, 20, 30):
        found.append(tmp_path / f"{grey}.png")
        found[-1].write_bytes(png(grey))
    return found


class Column:
    """As a table's column: it iterates over its values and gives them as an array of objects."""

    filename, name = "no file", "photograph"

    def __init__(self, values: list) -> None:
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=object)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        iter,
        lambda paths: (path for path in paths),
        lambda paths: np.array([str(path) for path in paths]),
        lambda paths: np.array(paths, dtype=object),
        lambda paths: Column([str(path) for path in paths]),
        lambda paths: sorted(os.scandir(paths[0].parent), key=lambda entry: entry.name),
        lambda paths: sorted(os.scandir(os.fsencode(paths[0].parent)), key=lambda entry: entry.name),
    ],
    ids=["list", "tuple", "iterator", "generator", "array of text", "array of paths", "column", "entries", "bytes"],
)
def test_many_paths_in_any_form(form, paths):
    found = as_images(form(paths))
    assert [name for name, _ in found] == [str(path) for path in paths]
    assert [int(image[0, 0, 0]) for _, image in found] == [10, 20, 30]


def test_arrays_of_one_path(paths):
    for one in (np.array(str(paths[0])), np.str_(paths[0]), np.array(paths[0], dtype=object)):
        assert [name for name, _ in as_images(one)] == [str(paths[0])]


def test_open_files(paths):
    with open(paths[0], "rb") as file, tempfile.TemporaryFile() as unnamed:
        unnamed.write(png(40))
        for one in (file, io.BytesIO(png(10)), unnamed):
            for _ in range(2):  # it is read from its beginning each time
                assert decode(one).shape == (6, 8, 3)
            assert not one.closed
        assert [name for name, _ in as_images([file, unnamed, io.BytesIO(png())])] == [
            str(paths[0]),
            "image 1",
            "image 2",
        ]
    with pytest.raises(ImageError, match=r"10\.png: the image cannot be read \(.*closed file"):
        decode(file)


def test_an_open_pipe_is_read_to_its_end():
    reader, writer = os.pipe()
    os.write(writer, png())
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert decode(pipe).shape == (6, 8, 3)


def test_open_files_that_hold_no_image(tmp_path, monkeypatch):
    with open(__file__, encoding="utf-8") as text, pytest.raises(ImageError, match='gives str; open it .* "rb"'):
        decode(text)
    with pytest.raises(ImageError, match="gives str"):
        decode(io.StringIO("text"))
    monkeypatch.setattr(images, "_IMAGE", dataclasses.replace(images._IMAGE, most_bytes=1000))
    with open("/dev/zero", "rb") as endless, pytest.raises(ImageError, match="more than 1,000 bytes"):
        decode(endless)


def test_pipes_and_devices_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", "/dev/null"):
        with pytest.raises(ImageError, match="a pipe or a device; save the image to a file"):
            decode(path)


def test_what_is_skipped_has_name_and_reason(tmp_path, paths):
    os.mkfifo(tmp_path / "pipe.png")
    bad = [tmp_path / "pipe.png", tmp_path / "away.png", tmp_path, b"rubbish", None, 3, np.zeros((2, 2), np.float32)]
    chips, found, skipped = faces.chips([*bad, *paths], 4, face="given", bulk=True)
    assert len(chips) == len(found) == 3 and [one.image for one in found] == [str(path) for path in paths]
    assert [one.image for one in skipped] == [*map(str, bad[:3]), "image 3", "image 4", "image 5", "image 6"]
    for one in skipped:
        assert one.reason.endswith(".") and not one.reason.startswith(one.image)
        assert one.to_dict() == {"image": one.image, "reason": one.reason} and str(one).startswith(f"{one.image}: ")
        with pytest.raises(ImageError, match="^" + one.image[:3]):
            raise one.error()


def test_all_faces_are_cut_out(astronaut):
    two = np.concatenate([astronaut, astronaut], axis=1)
    chips, found, _ = faces.chips([two, astronaut], 32, all_faces=True)
    assert [(one.image, one.number, one.found) for one in found] == [
        ("image 0", 1, 2),
        ("image 0", 2, 2),
        ("image 1", 1, 1),
    ]
    assert chips.shape == (3, 32, 32, 3) and all(0.7 <= one.score <= 1 and one.rotation == 0 for one in found)
    chips, found, _ = faces.chips(two, 32)
    assert len(chips) == 1 and (found[0].number, found[0].found) == (1, 2)
    with pytest.raises(ConfigError, match="leave out"):
        faces.chips(two, 32, face="given", all_faces=True)


def test_a_given_chip_has_no_score(astronaut):
    _, [face], _ = faces.chips(astronaut, 32, face="given")
    assert (face.score, face.rotation, face.number, face.found) == (None, None, 1, 1)


def test_none_left():
    one, other = Skipped("a.png", "no face.", faceless=True), Skipped("b.png", "no file.")
    faces.require_some([1], [one])
    for skipped, kind, text in [
        ([], ImageError, "No image was given: the list is empty."),
        ([one], FaceNotFoundError, "a.png: no face."),
        ([other], ImageError, "b.png: no file."),
        ([one, one], FaceNotFoundError, "None of the 2 images can be used; the first one: a.png: no face."),
        ([one, other], ImageError, "None of the 2 images can be used; the first one: a.png: no face."),
    ]:
        with pytest.raises(ImageError) as caught:
            faces.require_some([], skipped)
        assert (type(caught.value), str(caught.value), caught.value.skipped) == (kind, text, tuple(skipped))


def test_answers_are_a_list():
    one = Skipped("a.png", "no face.")
    answers = Answers([1, 2], [one])
    assert answers == [1, 2] and isinstance(answers, list) and answers.skipped == (one,)
    assert "a.png" in repr(answers) and repr(Answers([1])) == "[1]" and Answers().skipped == ()
    for same in (copy.copy(answers), copy.deepcopy(answers), pickle.loads(pickle.dumps(answers))):
        assert same == answers and same.skipped == answers.skipped
