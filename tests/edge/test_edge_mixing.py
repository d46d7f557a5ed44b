"""DataMix from end to end: pre, mixtures on the wire, `privzoo serve`, unmixing, post."""

from __future__ import annotations

import numpy as np
import pytest
from export_fakes import chips, manifest_of, pair
from mixing_fakes import GROUP, HIDDEN, NAME, expected, exported, parts
from PIL import Image

from privzoo.edge import Client, Head, MixingClient, MixingHead, pool
from privzoo.errors import ConfigError, FeatureError, MismatchError, ServerError
from privzoo.mechanisms import mixing
from privzoo.mechanisms.covers import Covers
from privzoo.serving import Server


@pytest.fixture(scope="module")
def server():
    with Server(exported()[1] / NAME, NAME) as running:
        yield running


def address(server, protocol):
    return server.url if protocol == "rest" else f"grpc://{server.grpc}"


def covers(count: int = 12, seed: int = 1) -> Covers:
    return Covers(np.random.default_rng(seed).integers(0, 256, (count, *chips().shape[1:])).astype(np.uint8))


def found(answers) -> np.ndarray:
    return np.array([list(answer.probabilities.values()) for answer in answers])


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize(("encoding", "tolerance"), [("float32", 1e-5), ("int16", 2e-4), ("int8", 0.05)])
@pytest.mark.slow
def test_answers_are_the_networks_where_main_is_linear(server, protocol, encoding, tolerance):
    with MixingClient(MixingHead(exported()[0]), address(server, protocol), covers(), encoding, timeout=60) as client:
        for count in (1, 4, 11):
            answers = client.predict(chips()[:count], face="given")
            np.testing.assert_allclose(found(answers), expected(chips()[:count]), atol=tolerance)
            assert all(answer.bytes_sent > 0 and answer.edge_ms > 0 for answer in answers)


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([], "instances"),
        (["x", "y"], 'The texts in "packed" have 1 bytes; all of them have 9220 or 4612'),
        (["x" * 4612, "x" * 9220], "have 4612, 9220 bytes"),
        (["x" * 4612] * 1025, "has 1025 features, but this server accepts 1024 at once"),
    ],
)
@pytest.mark.server
def test_a_server_refuses_texts_that_no_head_packs(server, instances, words):
    import httpx

    signature = f"{MixingHead(exported()[0]).manifest['tail']['signature']}_int8"
    body = {"signature_name": signature, "instances": instances}
    reply = httpx.post(f"{server.url}/v1/models/{NAME}:predict", json=body)
    assert reply.status_code == 400 and words in reply.json()["error"]


def test_encodings_are_a_half_and_a_quarter_of_the_bytes(server):
    sent = {}
    for protocol in ("rest", "grpc"):
        for encoding in ("float32", "int16", "int8"):
            with MixingClient(MixingHead(exported()[0]), address(server, protocol), None, encoding) as client:
                sent[protocol, encoding] = sum(a.bytes_sent for a in client.predict(chips()[:4], face="given"))
    values = 4 * int(np.prod(MixingHead(exported()[0]).feature_shape))
    for encoding, size in (("float32", 4), ("int16", 2), ("int8", 1)):
        assert sent["grpc", encoding] == pytest.approx(size * values, rel=0.05)
    for encoding, size in (("int16", 2), ("int8", 1)):
        assert sent["rest", encoding] == pytest.approx(size * values * 4 / 3, rel=0.05)


@pytest.mark.slow
def test_main_that_is_not_linear_is_run_on_mixtures():
    """The same numbers as mixing, main, unmixing and post, step by step, with the key that was drawn."""
    path, base = exported(linear=False)
    head, (_, main, post) = MixingHead(path), parts(False)
    mixtures, key = head.mix(chips()[:8])
    answers = head.answers(key, np.asarray(main(mixtures)))
    assert np.abs(answers - expected(chips()[:8], linear=False)).max() > 1e-3
    assert repr(key) == "Key(groups=2, size=4, wiped)"
    with Server(base / NAME, NAME) as running, MixingClient(head, running.url, timeout=60) as client:
        other = found(client.predict(chips()[:8], face="given"))
    assert other.shape == answers.shape and post.hidden == HIDDEN


@pytest.mark.parametrize("encoding", mixing.ENCODINGS)
def test_packed_mixtures_come_back(encoding):
    rng = np.random.default_rng(0)
    mixtures = (rng.normal(size=(3, 5, 5, 2)) * np.array([1e-4, 1.0, 1e6])[:, None, None, None]).astype(np.float32)
    mixtures[0, 0] = 0
    again = mixing.unpack(mixing.pack(mixtures, encoding), encoding, (5, 5, 2))
    largest = np.abs(mixtures).max((1, 2, 3), keepdims=True)
    assert np.abs((again - mixtures) / largest).max() < 0.5 / (32767 if encoding == "int16" else 127) + 1e-6
    zeros = np.zeros((1, 2, 2, 1), np.float32)
    assert not mixing.unpack(mixing.pack(zeros, encoding), encoding, (2, 2, 1)).any()


def test_a_request_never_repeats_a_cover_and_never_leaves_in_the_faces_order(server):
    """What the cloud sees of the same face twice has nothing in common but the face."""
    client = MixingClient(MixingHead(exported()[0]), server.url, covers(9), timeout=60)
    seen, whole = [], client._wire.predict
    client._wire.predict = lambda mixtures: seen.append(mixtures) or whole(mixtures)
    for _ in range(3):
        client.predict(chips()[:1], face="given")
    assert client.covers.remaining() == 0
    with pytest.raises(ConfigError, match="has 0 unused covers of 9, and 3 are needed"):
        client.predict(chips()[:1], face="given")
    assert len(seen) == 3 and all(len(mixtures) == GROUP for mixtures in seen)
    spans = [np.linalg.qr(mixtures.reshape(GROUP, -1).T)[0] for mixtures in seen]
    cosines = np.linalg.svd(spans[0].T @ spans[1])[1]
    assert cosines[0] > 0.9999 > cosines[1]  # the face itself, as the docstring of the pool says
    client.close()


def test_retries_send_the_same_bytes(server):
    from privzoo.edge.retry import unavailable

    with MixingClient(MixingHead(exported()[0]), server.url, timeout=60) as client:
        bodies, reply = [], client._wire._reply

        def once(response, content, count, body, start):
            bodies.append(body)
            if len(bodies) == 1:
                raise unavailable("The server is away.")
            return reply(response, content, count, body, start)

        client._wire._reply = once
        np.testing.assert_allclose(found(client.predict(chips()[:4], face="given")), expected(chips()[:4]), atol=2e-4)
    assert len(bodies) == 2 and bodies[0] == bodies[1]


def test_too_few_covers_and_no_whole_group(server):
    head = MixingHead(exported()[0])
    with MixingClient(head, server.url) as client, pytest.raises(ConfigError, match="need 3 covers, and this client"):
        client.predict(chips()[:5], face="given")
    for count, lacking in ((0, 4), (3, 1)):
        with pytest.raises(ConfigError, match=f"are no whole groups of 4; add {lacking} covers"):
            head.mix(chips()[:count])


def test_a_key_answers_once_and_replies_of_another_length_are_refused():
    head = MixingHead(exported()[0])
    _, key = head.mix(chips()[:4])
    with pytest.raises(FeatureError, match=r"1 groups of 4 need numbers of shape \(4, ...\)"):
        head.answers(key, np.zeros((5, HIDDEN)))
    head.answers(key, np.zeros((4, HIDDEN)))
    with pytest.raises(ConfigError, match="nothing to unmix"):
        head.answers(key, np.zeros((4, HIDDEN)))


@pytest.mark.parametrize("reply", [b'{"predictions": [[1, 2, 3, 4, 5, 6]]}', b'{"predictions": [[1, 2], [1, 2]]}'])
def test_a_server_that_answers_with_another_length(server, reply):
    with MixingClient(MixingHead(exported()[0]), server.url) as client:
        whole = client._wire._reply
        client._wire._reply = lambda response, _, *rest: whole(response, reply, *rest)
        with pytest.raises(ServerError, match="something other than 4 x 6 numbers"):
            client.predict(chips()[:4], face="given")


def test_another_models_tail_is_refused(server):
    from privzoo.export import tflite

    pre, main, post = parts(True)
    changed = manifest_of(pre, parts(False)[1], model=NAME, mixing=post)
    path = tflite.export_head(pre, exported()[0].with_name("other.tflite"), "float32", changed, chips())
    assert main is not None
    for protocol in ("rest", "grpc"):
        with MixingClient(MixingHead(path), address(server, protocol), attempts=1) as client:
            with pytest.raises(MismatchError, match="not the tail of this head"):
                client.predict(chips()[:4], face="given")


def test_heads_are_opened_as_what_they_are(tmp_path):
    with pytest.raises(ConfigError, match=r"sends mixtures of several faces; open it with privzoo.edge.MixingHead"):
        Head(exported()[0])
    from privzoo.export import tflite

    head, tail, _ = pair()
    path = tflite.export_head(head, tmp_path / "head.tflite", "float32", manifest_of(head, tail), chips())
    with pytest.raises(ConfigError, match="does not say how its features are mixed"):
        MixingHead(path)
    assert not hasattr(MixingHead(exported()[0]), "__dict__") and not hasattr(MixingHead, "features")
    assert Client is not MixingClient


def test_unknown_encodings_are_refused(server):
    with pytest.raises(ConfigError, match="give float32, int16, int8"):
        MixingClient(MixingHead(exported()[0]), server.url, encoding="int4")


def test_a_last_layer_that_does_not_fit_is_refused():
    pre, main, _ = parts(True)
    wrong = mixing.Mixing(GROUP, "orthogonal", np.zeros((HIDDEN + 1, 2)), np.zeros(2))
    with pytest.raises(ConfigError, match="does not fit a tail"):
        manifest_of(pre, main, mixing=wrong)
    with pytest.raises(ConfigError, match="A last layer of shapes"):
        mixing.Mixing(GROUP, "orthogonal", np.zeros((HIDDEN, 2)), np.zeros(3))


def test_a_folder_is_a_pool_and_remembers_what_was_used(tmp_path):
    for index, chip in enumerate(chips()[:6]):
        Image.fromarray(chip).save(tmp_path / f"{index}.png")
    first = pool(tmp_path, 24, face="given")
    assert first.remaining() == 6
    first.take(4)
    assert pool(tmp_path, 24, face="given").remaining() == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="has no images to be covers"):
        pool(empty, 24)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        pool(tmp_path / "missing", 24)
    (empty / "text.png").write_text("no image")
    with pytest.raises(ConfigError, match="None of the 1 images"):
        pool(empty, 24)
