"""The client against `privzoo serve` in a process of its own: the whole path over a socket."""

from __future__ import annotations

import numpy as np
import pytest
from export_fakes import CLASSES, NAME, chips, exported, manifest_of, pair, served

from privzoo.edge import Client, Head
from privzoo.errors import MismatchError
from privzoo.serving import Server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def url():
    exported("float32")
    with Server(served() / NAME, NAME) as server:
        yield server.url


def test_answers_are_those_of_the_whole_network(url):
    _, _, network = pair()
    expected = np.asarray(network(chips().astype(np.float32)))
    with Client(Head(exported("float32")), url, timeout=60) as client:
        answers = client.predict(chips(), face="given")
        assert client.predict(chips()[0], face="given")[0].probabilities == pytest.approx(
            answers[0].probabilities, abs=1e-6
        )
    np.testing.assert_allclose([list(a.probabilities.values()) for a in answers], expected, atol=1e-5)
    assert [a.label for a in answers] == [CLASSES[k] for k in expected.argmax(1)]


def test_what_does_not_belong_together(url, tmp_path):
    import keras

    from privzoo.export import tflite

    head, tail, _ = pair()
    manifest = manifest_of(head, keras.models.clone_model(tail))
    other = Head(tflite.export_head(head, tmp_path / "other.tflite", "float32", manifest, chips()))
    with Client(other, url, timeout=60) as client, pytest.raises(MismatchError, match="not the tail of this head"):
        client.predict(chips()[:1], face="given")
    head = Head(exported("float32"))
    with Client(head, url, version=4) as client, pytest.raises(MismatchError, match="version 4"):
        client.predict(chips()[:1], face="given")
    with Client(head, url, model_name="x") as client, pytest.raises(MismatchError, match="no model 'x'"):
        client.predict(chips()[:1], face="given")
    with Client(head, url + "/wrong") as client, pytest.raises(MismatchError, match="/wrong/v1/models"):
        client.predict(chips()[:1], face="given")
