"""The client over gRPC, TLS and keys, against the server in this process."""

from __future__ import annotations

import asyncio
import socket

import numpy as np
import pytest
from export_fakes import CLASSES, NAME, chips, exported, manifest_of, pair, served
from serving_helpers import pem_config, running

from privzoo.edge import AsyncClient, Client, Head, grpc_messages
from privzoo.edge.access import Access, Target
from privzoo.edge.grpc_wire import Grpc
from privzoo.edge.retry import Patience
from privzoo.errors import (
    ConfigError,
    FeatureError,
    FeatureRefusedError,
    MismatchError,
    ServerError,
    ServerUnavailableError,
)

pytestmark = pytest.mark.server

for package in ("grpc", "starlette", "tensorflow_serving", "trustme"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def models():
    from privzoo.serving import Models, load_versions

    models = Models(load_versions(NAME, served() / NAME))
    yield models
    models.close()


@pytest.fixture(scope="module")
def head():
    return Head(exported("float32"))


@pytest.fixture(scope="module")
def server(models):
    with running(models, max_body_bytes=2**26) as server:
        yield server


@pytest.fixture
def url(server):
    return f"grpc://{server.target}"


def test_messages_are_tf_servings():
    from tensorflow_serving.apis import predict_pb2

    from privzoo.serving.wire.protos import array_of, set_tensor

    features = np.random.default_rng(1).normal(size=(3, 2, 2, 5)).astype(np.float32)
    sent = predict_pb2.PredictRequest.FromString(grpc_messages.encode(features, "a model", 0, "tail_0", "features"))
    assert (sent.model_spec.name, sent.model_spec.signature_name) == ("a model", "tail_0")
    assert sent.model_spec.WhichOneof("version_choice") == "version" and sent.model_spec.version.value == 0
    np.testing.assert_array_equal(array_of(sent.inputs["features"], "features", 2**20), features)
    latest = predict_pb2.PredictRequest.FromString(grpc_messages.encode(features, "a", None, "s", "features"))
    assert latest.model_spec.WhichOneof("version_choice") is None
    answer = predict_pb2.PredictResponse()
    set_tensor(answer.outputs["probabilities"], features[..., 0])
    answer.outputs["content"].dtype = 1
    answer.outputs["content"].tensor_content = np.float32(2).tobytes()
    back = grpc_messages.decode(answer.SerializeToString())
    np.testing.assert_array_equal(back["probabilities"], features[..., 0])
    assert back["content"].shape == () and back["content"] == 2
    for wrong in (b"\xff\xff", b"\x0a\x02\x12\x7f"):
        with pytest.raises(ValueError):
            grpc_messages.decode(wrong)


def test_a_reduced_feature_costs_few_bytes():
    """Beyond its own 16 bytes and the names: at most 32."""
    feature = np.ones((1, 4), np.float32)
    model, signature, name = "vgg16_gender_reduced_simple_conv5_3", "tail_0123456789ab", "features"
    body = grpc_messages.encode(feature, model, None, signature, name)
    assert len(body) - feature.nbytes - len(model) - len(signature) - len(name) <= 32
    ten = grpc_messages.encode(np.ones((10, 4), np.float32), model, None, signature, name)
    assert len(ten) - len(body) <= 9 * feature.nbytes + 4


def test_answers_are_those_of_the_whole_network(head, url, server):
    _, _, network = pair()
    expected = np.asarray(network(chips().astype(np.float32)))
    with Client(head, url, timeout=60) as client, Client(head, server.url, timeout=60) as over_rest:
        answers = client.predict(chips(), face="given")
        others = over_rest.predict(chips(), face="given")
    np.testing.assert_allclose([list(a.probabilities.values()) for a in answers], expected, atol=1e-5)
    assert [a.label for a in answers] == [CLASSES[k] for k in expected.argmax(1)] == [a.label for a in others]
    assert sum(a.bytes_sent for a in answers) < sum(a.bytes_sent for a in others)


def test_asynchronous_clients_ask_beside_each_other(head, url, server):
    async def ask(address):
        async with AsyncClient(head, address, timeout=60) as client:
            return await asyncio.gather(*(client.predict(chips()[k], face="given") for k in range(8)))

    over_grpc, over_rest = asyncio.run(ask(url)), asyncio.run(ask(server.url))
    assert [a[0].label for a in over_grpc] == [a[0].label for a in over_rest]
    with Client(head, url, timeout=60) as client:
        assert [a.label for a in client.predict(chips()[:8], face="given")] == [a[0].label for a in over_grpc]


def test_what_does_not_belong_together(head, url, tmp_path):
    import keras

    from privzoo.export import tflite

    keras_head, tail, _ = pair()
    manifest = manifest_of(keras_head, keras.models.clone_model(tail))
    other = Head(tflite.export_head(keras_head, tmp_path / "other.tflite", "float32", manifest, chips()))
    with Client(other, url, timeout=60) as client, pytest.raises(MismatchError, match="not the tail of this head"):
        client.predict(chips()[:1], face="given")
    for options in ({"version": 4}, {"model_name": "x"}):
        with Client(head, url, timeout=60, **options) as client, pytest.raises(MismatchError, match="has no model"):
            client.predict(chips()[:1], face="given")


def test_servers_that_are_away_or_silent(head):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"grpc://127.0.0.1:{free.getsockname()[1]}"
    with Client(head, address, timeout=5, attempts=2) as client, pytest.raises(ServerUnavailableError, match=address):
        client.predict(chips()[:1], face="given")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        with Client(head, address, timeout=0.3, attempts=2) as client, pytest.raises(ServerUnavailableError):
            client.predict(chips()[:1], face="given")


def test_a_message_over_the_servers_limit(models):
    with running(models, max_body_bytes=1000) as server:
        wire = Grpc(f"grpc://{server.target}", Target(NAME, None, "s", "features", 2), Patience(), Access())
        with pytest.raises(ServerError, match="send fewer at once") as refused:
            wire.predict(np.ones((1, 2**19), np.float32))
        assert type(refused.value) is FeatureRefusedError
        with pytest.raises(FeatureError, match="not sent"):
            wire.predict(np.full((1, 4), np.inf, np.float32))
        wire.close()


@pytest.mark.parametrize(
    "url", ["grpc://", "grpc://cloud:x", "grpc://cloud/path", "grpc://cloud:8500?a=b", "grpc://[::1"]
)
def test_addresses_that_cannot_be(head, url):
    with pytest.raises(ConfigError, match="grpc://cloud:8500"):
        Client(head, url)


def test_keys_and_tls(head, models, tmp_path):
    import trustme

    from privzoo.serving.front.tls import read_tls
    from privzoo.serving.keys import Keys, new_key

    key, line = new_key("phone")
    (tmp_path / "keys").write_text(line)
    authority = trustme.CA()
    own = authority.issue_cert("phone@example.org")
    files = {"ca": tmp_path / "ca.pem", "key": tmp_path / "key.pem", "chain": tmp_path / "chain.pem"}
    authority.cert_pem.write_to_path(files["ca"])
    own.private_key_pem.write_to_path(files["key"])
    own.cert_chain_pems[0].write_to_path(files["chain"])
    tls = read_tls(pem_config(tmp_path / "tls", authority.issue_cert("127.0.0.1"), authority))
    with running(models, tls=tls, keys=Keys(tmp_path / "keys")) as server:
        right = {"key": key, "ca": files["ca"], "certificate": (files["chain"], files["key"])}
        for address in (server.url, f"grpcs://{server.target}"):
            with Client(head, address, timeout=60, **right) as client:
                assert client.predict(chips()[:1], face="given")
            with Client(head, address, timeout=60, **{**right, "key": "pz_wrong"}) as client:
                with pytest.raises(ServerError, match="unknown or no longer valid") as refused:
                    client.predict(chips()[:1], face="given")
                assert "pz_wrong" not in str(refused.value)
            with Client(head, address, timeout=5, attempts=1, **{**right, "certificate": None}) as client:
                with pytest.raises(ServerUnavailableError):
                    client.predict(chips()[:1], face="given")
            with Client(head, address, timeout=5, attempts=1, key=key) as client:
                with pytest.raises(ServerUnavailableError, match="certificate"):
                    client.predict(chips()[:1], face="given")


def test_what_would_give_a_key_away_is_refused(head, tmp_path):
    for address in ("http://cloud:8501", "grpc://cloud:8500"):
        with pytest.raises(ConfigError, match="in the clear") as refused:
            Client(head, address, key="pz_secret")
        assert "pz_secret" not in str(refused.value)
        with pytest.raises(ConfigError, match="no TLS"):
            Client(head, address, ca="ca.pem")
    Client(head, "http://127.0.0.1:8501", key="pz_secret").close()
    for key in ("", "a\nb", "é"):
        with pytest.raises(ConfigError, match="key is invalid"):
            Client(head, "https://cloud:8501", key=key)
    with pytest.raises(ConfigError, match="cannot be read"):
        Client(head, "https://cloud:8501", ca=tmp_path / "none")
    (tmp_path / "bad.pem").write_text("no PEM")
    for address in ("https://cloud:8501", "grpcs://cloud:8500"):
        with pytest.raises(ConfigError, match="give matching PEM files"):
            Client(head, address, ca=tmp_path / "bad.pem")
    assert "secret" not in repr(Access(key="pz_secret"))
