"""Reading images: every form, mode and kind of damage is read, or refused in one sentence that names the image."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import as_images
from PIL import Image

from privzoo import faces
from privzoo.errors import ConfigError, ImageError
from privzoo.faces import Box, Face, chips, decode

RED, GREY, WHITE = (200, 30, 10), (90, 90, 90), (255, 255, 255)


def picture(colour: tuple[int, int, int] = RED, width: int = 6, height: int = 4) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def refused(source, *words: str, name: str | None = None) -> None:
    with pytest.raises(ImageError) as caught:
        decode(source, name)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and sentence.endswith(".")


@pytest.mark.parametrize("form", ["path", "text", "bytes", "bytearray", "memoryview", "pillow", "array"])
def test_every_form_gives_the_same_pixels(form, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise()))
    source = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "memoryview": memoryview(path.read_bytes()),
        "pillow": Image.open(path),
        "array": np.asarray(noise()),
    }[form]
    image = decode(source)
    assert image.dtype == np.uint8 and (image == np.asarray(noise())).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (picture(GREY).convert("L"), GREY),
        (picture(WHITE).convert("1"), WHITE),
        (picture(RED).quantize(4), RED),
        (picture(RED).convert("CMYK"), RED),
        (picture(RED).convert("RGBA"), RED),
        (picture(RED).convert("RGBX"), RED),
        (picture(GREY).convert("LA"), GREY),
        (Image.new("RGBA", (6, 4), (*RED, 0)), WHITE),
        (Image.new("LA", (6, 4), (0, 0)), WHITE),
        (Image.new("RGBA", (6, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.fromarray(np.full((4, 6), 0x5AFF, np.uint16)), GREY),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode(image, expected):
    found = decode(image)
    assert found.shape == (4, 6, 3) and (found == expected).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_format(kind):
    found = decode(encoded(picture(GREY, 16, 16), kind))
    assert found.shape == (16, 16, 3) and np.abs(found.astype(int) - GREY).max() <= 2


def test_cmyk_jpeg():
    found = decode(encoded(picture(RED, 16, 16).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - RED).max() <= 6


def test_png_with_16_bits_keeps_the_upper_8():
    grey = np.array([[0x0000, 0x00FF, 0x0100, 0xFFFF]], np.uint16)
    found = decode(encoded(Image.fromarray(grey)))
    assert found[:, :, 0].tolist() == [[0, 0, 1, 255]]


def test_palette_with_a_transparent_colour_lies_over_white():
    image = picture(RED).quantize(4)
    index = image.getpixel((0, 0))
    assert (decode(encoded(image, "PNG", transparency=index)) == WHITE).all()
    assert (decode(encoded(image, "GIF", transparency=index)) == WHITE).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    # How a camera stores the upright picture under each orientation: the inverse of what the viewer does.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95)
    found = decode(data)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_does_not_hide_the_picture(exif):
    assert decode(encoded(picture(GREY, 16, 16), "JPEG", exif=exif)).shape == (16, 16, 3)


def test_of_several_frames_the_first():
    frames = encoded(picture(WHITE), "GIF", save_all=True, append_images=[picture(GREY)])
    assert (decode(frames) == WHITE).all()


def test_the_smallest_image():
    assert decode(encoded(picture(RED, 1, 1))).tolist() == [[list(RED)]]
    assert faces.resize(decode(encoded(picture(RED, 1, 1))), 96).shape == (96, 96, 3)


def test_grey_arrays_are_repeated():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (grey, grey[:, :, None]):
        found = decode(array)
        assert found.shape == (3, 4, 3) and all((found[:, :, c] == grey).all() for c in range(3))


def test_arrays_with_alpha_lie_over_white():
    array = np.zeros((3, 4, 4), np.uint8)
    assert (decode(array) == 255).all()
    array[..., 3] = 255
    assert (decode(array) == 0).all()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), ["float32", "give uint8"]),
        (np.full((4, 4, 3), np.nan), ["float64", "give uint8"]),
        (np.zeros((4, 4), bool), ["bool", "give uint8"]),
        (np.zeros((4, 4, 3), np.int64), ["int64", "give uint8"]),
        (np.array(["a.png"]), ["give uint8"]),
        (np.zeros((4, 4, 2), np.uint8), ["(4, 4, 2)"]),
        (np.zeros((3, 96, 96), np.uint8), ["(3, 96, 96)"]),
        (np.zeros((2, 4, 4, 3), np.uint8), ["(2, 4, 4, 3)"]),
        (np.zeros(5, np.uint8), ["(5,)"]),
        (np.array(3, np.uint8), ["()"]),
        (np.zeros((0, 4, 3), np.uint8), ["(0, 4, 3)", "no pixels"]),
        (None, ["NoneType", "give a path"]),
        (3, ["int", "give a path"]),
        ({"a": 1}, ["dict", "give a path"]),
        (io.BytesIO(b""), ["JPEG, PNG or WebP"]),
        (b"", ["JPEG, PNG or WebP"]),
        (b"no image at all", ["JPEG, PNG or WebP"]),
        ("nowhere/a.jpg", ["nowhere/a.jpg", "no such file"]),
        ("nul\0.jpg", ["no such file"]),
        ("gs://bucket/a.jpg", ["gs://bucket/a.jpg", "an address, not a file"]),
        (Image.new("F", (4, 4)), ["mode F", "8 bits"]),
        (Image.new("I", (4, 4)), ["mode I", "8 bits"]),
        (Image.new("RGB", (0, 4)), ["0x4"]),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(source, words):
    refused(source, *words)


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path, str(tmp_path), "folder")


def test_a_text_file_is_refused_by_name(tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir")
    refused(path, str(path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_by_name(kind, share, tmp_path):
    data = encoded(noise(), kind)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, str(path))
    refused(path.read_bytes(), "mine", name="mine")


def test_a_truncated_file_that_pillow_holds_open_is_refused(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(noise(), "JPEG")[:900])
    refused(Image.open(path), str(path))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a"]),
)
@settings(deadline=None)
def test_random_bytes_never_raise_anything_else(data, start):
    try:
        decode(start + data)
    except ImageError:
        pass


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 14_000])
def test_a_decompression_bomb_is_refused_unread(side):
    data = encoded(Image.new("1", (side, side)))
    assert len(data) < 50_000
    refused(data, "bomb.png", "89,478,485", name="bomb.png")


def test_one_and_many():
    array = np.zeros((4, 6, 3), np.uint8)
    path = str(Path(__file__).resolve().parents[1] / "golden" / "chips" / "odd.png")
    assert [name for name, _ in as_images(array)] == ["image 0"]
    assert [name for name, _ in as_images(path)] == [path]
    assert [name for name, _ in as_images([array, path, Path(path)])] == ["image 0", path, path]
    assert [name for name, _ in as_images(np.zeros((3, 4, 6, 3), np.uint8))] == ["image 0", "image 1", "image 2"]
    assert [name for name, _ in as_images(iter([encoded(picture()), picture()]))] == ["image 0", "image 1"]
    assert all(image.shape == (4, 6, 3) for _, image in as_images([array, picture()]))
    assert as_images([]) == as_images(np.zeros((0, 4, 6, 3), np.uint8)) == []


def test_the_bad_one_of_many_is_named():
    good = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ImageError, match="^image 1: the array is float32"):
        as_images([good, good.astype(np.float32)])
    with pytest.raises(ImageError, match="^image 0: the array is float64"):
        as_images(np.full((2, 4, 6, 3), np.nan))
    with pytest.raises(ImageError, match="^image 0: received list"):
        as_images([[1, 2], [3, 4]])


def test_given_chips():
    images = [np.asarray(noise(40, 30)), np.asarray(noise(30, 30))]
    found, where, skipped = chips(images, 24, face="given")
    assert found.shape == (2, 24, 24, 3) and found.dtype == np.uint8 and skipped == []
    assert where == [Face("image 0", Box(5, 0, 30)), Face("image 1", Box(0, 0, 30))]
    assert (found[1] == faces.resize(images[1], 24)).all()


def test_no_image_at_all():
    with pytest.raises(ImageError, match="No image was given"):
        chips([], 24, face="given")
    found, where, skipped = chips([], 24, face="given", bulk=True)
    assert found.shape == (0, 24, 24, 3) and found.dtype == np.uint8 and where == [] and skipped == []


def test_bulk_skips_with_a_reason_and_alone_refuses_by_name(tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(encoded(noise(), "JPEG")[:900])
    images = [picture(), cut, "nowhere.png", picture()]
    found, where, skipped = chips(images, 24, face="given", bulk=True)
    assert len(found) == 2 and [face.image for face in where] == ["image 0", "image 3"]
    assert [one.image for one in skipped] == [str(cut), "nowhere.png"] and not any(one.faceless for one in skipped)
    assert [str(one) for one in skipped][1] == "nowhere.png: there is no such file; check the path."
    with pytest.raises(ImageError, match=f"^{re.escape(str(cut))}: "):
        chips(images, 24, face="given")


def test_wrong_arguments():
    with pytest.raises(ConfigError, match='face=\'find\' is unknown; use "detect" or "given"'):
        chips([picture()], 24, face="find")
    with pytest.raises(ConfigError, match="size=0 is not valid"):
        chips([picture()], 0, face="given", bulk=True)


@pytest.mark.parametrize("face", [None, np.zeros(2), ["given"], {}, True], ids=repr)
def test_faces_that_are_no_word(face):
    with pytest.raises(ConfigError, match='is unknown; use "detect" or "given"'):
        chips([picture()], 24, face=face)
