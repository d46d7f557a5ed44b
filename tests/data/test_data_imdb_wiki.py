"""IMDB-WIKI's loader, on fake .mat files as the authors' are."""

from __future__ import annotations

import builtins
import io
from datetime import date, timedelta

import numpy as np
import pytest
from data_fakes import FORMS, jpeg, picture, place, write_folder
from hypothesis import given
from hypothesis import strategies as st

from privzoo.data import arrays, imdb_wiki
from privzoo.errors import ConfigError, DataError, ImageError, MissingExtraError

NAN = float("nan")
savemat = pytest.importorskip("scipy.io", reason="SciPy writes the fake .mat files").savemat


def matlab(day: date) -> float:
    return float(day.toordinal() + 366)


#: path, date of birth, year, gender (0 female), face box, score, score of a second face, why it is skipped
ROWS = [
    ("17/a.jpg", matlab(date(1981, 5, 5)), 2009, 1.0, (21, 31, 60, 70), 4.3, NAN, None),
    ("48/b.jpg", matlab(date(1960, 8, 1)), 2000, 0.0, (21, 31, 60, 70), 1.5, NAN, None),
    ("12/c.jpg", matlab(date(1960, 8, 1)), 2000, 0.0, (1, 1, 1, 1), -np.inf, NAN, "without a clear face"),
    ("12/d.jpg", matlab(date(1960, 8, 1)), 2000, 0.0, (1, 1, 9, 9), 0.5, NAN, "without a clear face"),
    ("12/e.jpg", matlab(date(1960, 8, 1)), 2000, 0.0, (1, 1, 9, 9), 3.0, 2.2, "with a second face"),
    ("12/f.jpg", matlab(date(1960, 8, 1)), 2000, NAN, (1, 1, 9, 9), 3.0, NAN, "without gender"),
    ("12/g.jpg", matlab(date(1860, 8, 1)), 2000, 1.0, (1, 1, 9, 9), 3.0, NAN, "without a possible age"),
    ("12/h.jpg", matlab(date(2001, 8, 1)), 2000, 1.0, (1, 1, 9, 9), 3.0, NAN, "without a possible age"),
    ("12/i.jpg", 47.0, 2000, 1.0, (1, 1, 9, 9), 3.0, NAN, "without a possible age"),
    ("12/gone.jpg", matlab(date(1960, 8, 1)), 2000, 1.0, (1, 1, 9, 9), 3.0, NAN, "image missing"),
]


def cells(values) -> np.ndarray:
    """Return a MATLAB cell array with one row."""
    array = np.empty((1, len(values)), object)
    array[0] = values
    return array


def mat(name: str = "wiki", rows=ROWS, **other) -> bytes:
    path, dob, taken, gender, box, score, second, _ = ([*column] for column in zip(*rows, strict=True))
    columns = {
        "dob": np.array([dob]),
        "photo_taken": np.array([taken], np.uint16),
        "full_path": cells(path),
        "gender": np.array([gender]),
        "name": cells(["A Name"] * len(rows)),
        "face_location": cells([np.array([b], np.float64) for b in box]),
        "face_score": np.array([score]),
        "second_face_score": np.array([second]),
    }
    file = io.BytesIO()
    savemat(file, {name: {k: v for k, v in (columns | other).items() if v is not None}}, do_compression=True)
    return file.getvalue()


def files_of(name: str = "wiki", rows=ROWS) -> dict[str, bytes]:
    images = {row[0]: jpeg(90, seed=seed) for seed, row in enumerate(rows) if "gone" not in row[0]}
    return images | {f"{name}.mat": mat(name, rows)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", ["wiki_crop", "wiki", "imdb_crop", "imdb"])
def test_load(tmp_path, form, folder, caplog):
    name = folder.removesuffix("_crop")
    data = imdb_wiki.load(place(files_of(name), tmp_path, form, folder), name)
    assert [s.name for s in data.samples] == [f"{name}/17/a.jpg", f"{name}/48/b.jpg"]
    assert [s.labels for s in data.samples] == [{"gender": 0, "age": 28}, {"gender": 1, "age": 39}]
    assert data.classes == {"gender": ("male", "female")} and data.name == name
    reasons = [row[-1] for row in ROWS if row[-1]]
    assert data.skipped == {reason: reasons.count(reason) for reason in reasons}
    assert "8 files skipped" in caplog.text
    # A zip without the official folder does not say that it is the cropped set: it is taken as whole images.
    cropped = folder.endswith("_crop") and form != "bare zip"
    assert data.samples[0].image().shape == ((50, 50, 3) if cropped else (40, 40, 3))


def test_set_without_its_folder_can_be_called_cropped(tmp_path):
    data = imdb_wiki.load(write_folder(files_of(), tmp_path), cropped=True)
    assert data.samples[0].image().shape == (50, 50, 3)


def test_metadata_may_lie_in_a_deeper_folder(tmp_path):
    write_folder({f"archive/wiki_crop/{name}": content for name, content in files_of().items()}, tmp_path)
    data = imdb_wiki.load(tmp_path)
    assert len(data) == 2 and data.samples[0].image().shape == (50, 50, 3)


def test_filters_can_be_changed(tmp_path):
    root = place(files_of(), tmp_path, "folder", "wiki_crop")
    assert len(imdb_wiki.load(root, min_face_score=2.0)) == 1
    assert len(imdb_wiki.load(root, min_face_score=0.0)) == 3
    assert len(imdb_wiki.load(root, one_face=False)) == 3


def test_split_is_a_partition_that_does_not_depend_on_the_form(tmp_path):
    rows = [(f"{n:02}/{n}.jpg", *ROWS[0][1:]) for n in range(40)]
    root = place(files_of(rows=rows), tmp_path, "folder", "wiki_crop")
    packed = place(files_of(rows=rows), tmp_path / "packed", "zip", "wiki_crop")
    parts = {s: [x.name for x in imdb_wiki.load(root, split=s).samples] for s in ("train", "validation", "all")}
    assert sorted(parts["train"] + parts["validation"]) == parts["all"] and parts["validation"]
    assert parts["train"] == [s.name for s in imdb_wiki.load(packed, split="train").samples]


@given(st.dates(date(1800, 1, 1), date(2020, 12, 31)), st.integers(0, 100))
def test_age_is_that_of_the_first_of_july(born, years):
    taken = born.year + years
    past = (born.month, born.day) <= (7, 1)
    assert imdb_wiki.age(matlab(born), taken) == years - (not past)
    assert imdb_wiki.age(matlab(born) + 0.5, taken) == years - (not past)


@pytest.mark.parametrize("dob", [NAN, np.inf, -np.inf, 0.0, 366.0, 1e9])
def test_age_without_a_date_of_birth_is_unknown(dob):
    assert imdb_wiki.age(dob, 2000) is None


def test_age_without_a_year_is_unknown():
    assert imdb_wiki.age(matlab(date(1950, 1, 1)), NAN) is None


def test_birthday_counts_from_the_day_itself():
    assert imdb_wiki.age(matlab(date(1950, 7, 1)), 2000) == 50
    assert imdb_wiki.age(matlab(date(1950, 7, 1) + timedelta(1)), 2000) == 49


def test_cut_is_the_matlab_box():
    image = picture(90)
    assert (imdb_wiki.CutFace((21, 31, 60, 70), 0.0)(image) == image[30:70, 20:60]).all()


def test_cut_grows_by_the_margin_and_repeats_the_border():
    image = picture(90)
    assert (imdb_wiki.CutFace((21, 31, 60, 70), 0.25)(image) == image[20:80, 10:70]).all()
    chip = imdb_wiki.CutFace((1, 1, 40, 40), 0.25)(image)
    assert chip.shape == (60, 60, 3) and (chip[:11] == chip[10]).all() and (chip[10:, 10:] == image[:50, :50]).all()


def test_cut_of_the_cropped_set_is_its_centre():
    image = picture(180)
    assert (imdb_wiki.CutFace(None, 0.0)(image) == image[40:140, 40:140]).all()
    assert (imdb_wiki.CutFace(None, 0.4)(image) == image).all()


@pytest.mark.parametrize("location", [(200, 200, 240, 240), (40, 40, 30, 30), (1, 1, 5000, 5000)])
def test_impossible_box_is_refused_by_name_and_skipped_in_bulk(tmp_path, location):
    rows = [ROWS[0], (ROWS[1][0], *ROWS[1][1:4], location, *ROWS[1][5:])]
    data = imdb_wiki.load(place(files_of(rows=rows), tmp_path, "folder", "wiki"))
    with pytest.raises(ImageError, match=r"wiki/48/b\.jpg"):
        data.samples[1].image()
    assert len(arrays(data, 16)[0]) == 1


def test_one_image_is_enough(tmp_path):
    assert len(imdb_wiki.load(place(files_of(rows=ROWS[:1]), tmp_path, "folder", "wiki"))) == 1


def test_missing_metadata_is_named(tmp_path):
    write_folder({"wiki_crop/17/a.jpg": jpeg(20)}, tmp_path)
    with pytest.raises(DataError, match=r"has no wiki\.mat: give the folder wiki_crop or wiki that holds it"):
        imdb_wiki.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no mat file", mat("imdb"), mat(gender=None), mat()[:300]], ids=lambda c: str(len(c))
)
def test_other_metadata_is_refused(tmp_path, content):
    root = place(files_of() | {"wiki.mat": content}, tmp_path, "folder", "wiki_crop")
    with pytest.raises(DataError, match=r"wiki\.mat is not the metadata of IMDB-WIKI"):
        imdb_wiki.load(root)


def test_columns_of_different_lengths_are_refused(tmp_path):
    files = files_of() | {"wiki.mat": mat(gender=np.array([[1.0]]))}
    with pytest.raises(DataError, match="columns of different lengths"):
        imdb_wiki.load(place(files, tmp_path, "folder", "wiki_crop"))


def test_metadata_without_images_is_refused_with_the_reasons(tmp_path):
    root = write_folder({"wiki_crop/wiki.mat": mat()}, tmp_path)
    with pytest.raises(DataError, match=r"describes no usable image \(3 image missing, .*\): unpack the images"):
        imdb_wiki.load(root)


def test_unknown_name_and_split_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'imbd' is unknown"):
        imdb_wiki.load(tmp_path, "imbd")
    with pytest.raises(ConfigError, match="'test' is unknown"):
        imdb_wiki.load(tmp_path, split="test")


def test_missing_scipy_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_scipy(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    with pytest.raises(MissingExtraError, match=r"pip install 'privzoo\[train\]'"):
        imdb_wiki.load(place(files_of(), tmp_path, "folder", "wiki_crop"))


def test_huge_face_is_cut_at_the_largest_chip_size(monkeypatch):
    monkeypatch.setattr(imdb_wiki.faces, "MAX_CHIP_SIZE", 32)
    assert imdb_wiki.CutFace((21, 31, 60, 70), 0.0)(picture(90)).shape == (32, 32, 3)
