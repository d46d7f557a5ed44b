"""Which of one's own images are kept from training."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from privzoo.data import held_out

CLASSES = ("a", "b", "c")
IMAGES = st.dictionaries(
    st.tuples(st.sampled_from(CLASSES), st.integers(0, 10**6)),
    st.none() | st.integers(0, 60).map(lambda n: f"p{n}"),
    min_size=1,
    max_size=60,
).map(lambda found: {f"{c}/{n}.jpg": (c, person) for (c, n), person in found.items()})


@given(IMAGES, st.booleans())
def test_every_class_is_trained_on_and_people_stay_together(images, tested):
    parts, _ = held_out.divide(images, tested)
    assert parts.keys() == images.keys()
    assert {c for c, _ in images.values()} == {images[name][0] for name, part in parts.items() if part == "train"}
    assert not (tested and "test" in parts.values())
    people = {person for _, person in images.values() if person}
    if len(people) >= held_out.PEOPLE:
        assert all(len({parts[name] for name, (_, own) in images.items() if own == person}) == 1 for person in people)


@given(st.sets(st.integers(0, 10**6), min_size=3, max_size=40), st.booleans())
def test_no_part_is_empty_from_three_images_of_each_class_on(numbers, tested):
    images = {f"{c}/{n}.jpg": (c, None) for c in CLASSES for n in numbers}
    parts, _ = held_out.divide(images, tested)
    for c in CLASSES:
        found = {part for name, part in parts.items() if name.startswith(f"{c}/")}
        assert found == {"train", "validation", *(() if tested else ("test",))}


def test_about_one_in_ten_of_each_kind_and_the_same_after_more_come():
    images = {f"a/{n}.jpg": ("a", None) for n in range(3000)}
    parts, _ = held_out.divide(images, tested=False)
    count = Counter(parts.values())
    assert 240 < count["validation"] < 360 and 240 < count["test"] < 360
    more, _ = held_out.divide(images | {f"a/new{n}.jpg": ("a", None) for n in range(100)}, tested=False)
    assert {name: more[name] for name in parts} == parts


def test_a_class_with_one_image_is_trained_on():
    for n in range(30):
        parts, _ = held_out.divide({f"a/{n}.jpg": ("a", None), "b/1.jpg": ("b", None)}, tested=False)
        assert set(parts.values()) == {"train"}
