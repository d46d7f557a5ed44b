"""The client on many photographs: bad ones are skipped before anything is computed, several faces are told apart."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from export_fakes import chips, exported, serving
from PIL import Image
from released_fakes import NOISE, NOISY, heads

from privzoo.edge import AsyncClient, Client, Head
from privzoo.errors import BudgetError, FaceNotFoundError, ImageError, ServerUnavailableError
from privzoo.mechanisms.gaussian import Gaussian

pytestmark = pytest.mark.server

BLANK = np.zeros((64, 64, 3), np.uint8)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(exported("float32"))


@pytest.fixture(scope="module")
def url():
    with serving() as (address, _):
        yield address


def budgeted(tmp_path, features: int) -> Head:
    total = Gaussian(NOISE.sigma, NOISE.clip).epsilon(features)
    return Head(heads() / f"{NOISY}_int8.tflite", total_epsilon=total, ledger=tmp_path / "ledger.sqlite")


def asking(client_class, head, url, method, *arguments, **options):
    """A call of `Client` or `AsyncClient`."""
    if client_class is Client:
        with Client(head, url, timeout=60) as client:
            return getattr(client, method)(*arguments, **options)

    async def ask():
        async with AsyncClient(head, url, timeout=60) as client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_others_are_answered(kind, head, url, astronaut):
    answers = asking(kind, head, url, "predict", [BLANK, astronaut, "away.jpg", astronaut])
    assert [answer.image for answer in answers] == ["image 1", "image 3"]
    assert [(one.image, one.faceless) for one in answers.skipped] == [("image 0", True), ("away.jpg", False)]
    for answer in answers:
        assert (answer.number, answer.faces, answer.rotation) == (1, 1, 0) and 0.7 < answer.score <= 1
    with pytest.raises(FaceNotFoundError, match="^image 1: "):
        asking(kind, head, url, "predict", [astronaut, BLANK, "away.jpg"], strict=True)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_none_is_left(kind, head, url):
    with pytest.raises(FaceNotFoundError, match="^image 0: "):
        asking(kind, head, url, "predict", BLANK)
    with pytest.raises(ImageError, match="^None of the 2 images") as caught:
        asking(kind, head, url, "predict", [BLANK, "away.jpg"])
    assert [one.image for one in caught.value.skipped] == ["image 0", "away.jpg"]
    with pytest.raises(ImageError, match="No image was given"):
        asking(kind, head, url, "predict", [])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_all_faces(kind, head, url, astronaut):
    two = np.concatenate([astronaut, astronaut], axis=1)
    answers = asking(kind, head, url, "predict", [two, astronaut], all_faces=True)
    assert [(one.image, one.number, one.faces) for one in answers] == [
        ("image 0", 1, 2),
        ("image 0", 2, 2),
        ("image 1", 1, 1),
    ]


def test_given_chips_have_no_score(head, url):
    [answer] = asking(Client, head, url, "predict", chips()[:1], face="given")
    assert (answer.score, answer.rotation, answer.number, answer.faces) == (None, None, 1, 1)


def test_open_files_and_generators(head, url, astronaut):
    file = io.BytesIO()
    Image.fromarray(astronaut).save(file, "PNG")
    answers = asking(Client, head, url, "predict", (one for one in [file, np.zeros((2, 2)), file]))
    assert [one.image for one in answers] == ["image 0", "image 2"] and len(answers.skipped) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_skipped_spends_nothing(kind, tmp_path, astronaut):
    head = budgeted(tmp_path, 5)
    with pytest.raises(ImageError):
        asking(kind, head, NOWHERE, "predict", [BLANK, "away.jpg"])
    with pytest.raises(ImageError):
        asking(kind, head, NOWHERE, "predict", [astronaut, BLANK], strict=True)
    assert head.remaining() == 5
    with pytest.raises(ServerUnavailableError):
        asking(kind, head, NOWHERE, "predict", [BLANK, astronaut])
    assert head.remaining() == 4


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_too_many_faces_together_spend_nothing(kind, tmp_path, astronaut, monkeypatch):
    """Also where the first request of several would still fit."""
    monkeypatch.setattr("privzoo.edge.client.BATCH", 1)
    head = budgeted(tmp_path, 2)
    with pytest.raises(BudgetError, match="^3 faces are more than the 2 that the total budget of 'device' allows"):
        asking(kind, head, NOWHERE, "predict", [astronaut, BLANK, astronaut, astronaut])
    assert head.remaining() == 2 and head.queries == 0


def test_later_skips_too(head, url, astronaut, tmp_path):
    two = np.concatenate([astronaut, astronaut], axis=1)
    with Client(head, url, timeout=60, queue=tmp_path / "queue.sqlite") as client:
        tickets = client.later([BLANK, two, "away.jpg"], all_faces=True)
        assert len(tickets) == 2 and [one.image for one in tickets.skipped] == ["image 0", "away.jpg"]
        with pytest.raises(ImageError, match="away"):
            client.later([astronaut, "away.jpg"], strict=True)
        assert len(client.queue) == 2
        sent = dict(client.send())
    assert list(sent) == tickets
    assert [(one.image, one.number, one.faces) for one in sent.values()] == [("image 1", 1, 2), ("image 1", 2, 2)]
    assert all(one.score > 0.7 for one in sent.values())


def test_later_takes_names_that_are_no_utf8(head, tmp_path, astronaut):
    name = str(tmp_path / "caf\udce9.png")
    Image.fromarray(astronaut).save(name, "PNG")
    with Client(head, NOWHERE, queue=tmp_path / "queue.sqlite") as client:
        assert len(client.later(name)) == 1
