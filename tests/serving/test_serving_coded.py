"""A coded model's tail behind real sockets: what it answers and refuses, over REST and gRPC, and to which heads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from export_fakes import SIZE, chips, manifest_of
from serving_helpers import predict, refusal, running

from privzoo.edge import Client, Head
from privzoo.errors import ConfigError, MismatchError
from privzoo.mechanisms.codebook import levels

pytestmark = pytest.mark.server
grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

NAME = "coded"
# Chance of class and symbol, for codes of 3, 3 and 2 symbols.
JOINTS = (
    np.array([[0.3, 0.15, 0.05], [0.05, 0.15, 0.3]]),
    np.array([[0.25, 0.2, 0.05], [0.05, 0.15, 0.3]]),
    np.array([[0.45, 0.05], [0.1, 0.4]]),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Head files of three codes on one network, and the folder with the first one's tail."""
    import keras

    from privzoo.embeddings import coded
    from privzoo.export import manifests, saved_model, tflite

    folder = tmp_path_factory.mktemp("coded")
    keras.utils.set_random_seed(7)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize")(image)
    x = keras.layers.Conv2D(1, SIZE, name="reduce")(x)
    head = keras.Model(image, keras.layers.Reshape((1,), name="vector")(x), name="head")
    scores = np.asarray(head(chips().astype(np.float32)))[:, 0]
    paths = []
    for number, joint in enumerate(JOINTS):
        steps = np.quantile(scores, np.arange(1, joint.shape[1]) / joint.shape[1] + 0.01 * number)
        tail = coded.tail_of(joint)
        described = manifest_of(
            head, tail, model=NAME, embedding="coded", code=manifests.Code(levels(np.ones(1), 0.0, steps), 3.0)
        )
        paths.append(tflite.export_head(head, folder / f"{number}.tflite", "float32", described, chips()))
        if number == 0:
            saved_model.export_tail(tail, folder / "served", NAME, 1, described)
    return paths, folder / "served"


@pytest.fixture(scope="module")
def server(exported):
    from privzoo.serving import Models, load_versions
    from privzoo.serving.models.warmup import warm

    loaded = load_versions(NAME, exported[1] / NAME)
    assert warm(loaded[0]) == 2  # what the export wrote is what the server takes
    models = Models(loaded)
    with running(models, max_rows=16) as started:
        yield started
    models.close()


@pytest.fixture(scope="module")
def http(server):
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(server.target) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def rows(symbols, budgets):
    pairs = zip(symbols, budgets, strict=True)
    return {"instances": [{"symbol": symbol, "epsilon": epsilon} for symbol, epsilon in pairs]}


def request_of(symbols, budgets):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.inputs["symbol"].CopyFrom(tf.make_tensor_proto(np.asarray(symbols, np.uint8)))
    request.inputs["epsilon"].CopyFrom(tf.make_tensor_proto(np.asarray(budgets, np.float32)))
    return request


def refused(stub, request) -> str:
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return error.value.details()


def posteriors(symbols, budgets):
    """Bayes' rule, in numpy."""
    joint = JOINTS[0]
    k, found = joint.shape[1], []
    for symbol, epsilon in zip(symbols, budgets, strict=True):
        same = 1 / (1 + (k - 1) * np.exp(-epsilon))
        other = (1 - same) / (k - 1)
        weight = (same - other) * joint[:, symbol] + other * joint.sum(1)
        found.append(weight / weight.sum())
    return found


def test_each_symbol_is_answered_under_its_own_budget(http, stub):
    import tensorflow as tf

    symbols, budgets = [0, 1, 2, 2, 0], [3.0, 0.1, 20.0, 2.0**-16, 1.0]
    answer = predict(http, NAME, rows(symbols, budgets))
    assert answer.status_code == 200, answer.text
    expected = posteriors(symbols, budgets)
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)
    found = stub.Predict(request_of(symbols, budgets)).outputs["probabilities"]
    np.testing.assert_allclose(tf.make_ndarray(found), expected, atol=1e-6)


@pytest.mark.parametrize("symbols,count", [([3], 1), ([0, 255, 2, 3], 2)])
def test_symbols_of_another_code_are_refused(http, stub, symbols, count):
    budgets = [3.0] * len(symbols)
    sentence = f"{count} of the {len(symbols)} symbols are not this tail's, which has 0 to 2; send what its head gives."
    assert refusal(predict(http, NAME, rows(symbols, budgets))) == sentence
    assert refused(stub, request_of(symbols, budgets)) == sentence


@pytest.mark.parametrize("symbol", [-1, 256, 0.5, "1", None, True])
def test_symbols_that_are_no_byte_are_refused_in_tf_servings_words(http, symbol):
    assert "is not of expected type: uint8" in refusal(predict(http, NAME, rows([symbol], [3.0])))


@pytest.mark.parametrize("epsilon", [0.0, -0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_budgets_under_which_nothing_can_be_sent_are_refused(http, stub, epsilon):
    sentence = (
        '1 of the 2 budgets in "epsilon" are not finite numbers above 0; '
        "send the epsilon that each symbol was drawn under."
    )
    body = json.dumps(rows([0, 1], [3.0, epsilon])).encode()  # with NaN and Infinity as tokens
    assert refusal(predict(http, NAME, body)) == sentence
    assert refused(stub, request_of([0, 1], [3.0, epsilon])) == sentence


def test_symbols_and_budgets_that_do_not_pair_are_refused(http, stub):
    columns = {"inputs": {"symbol": [0, 1], "epsilon": [3.0]}}
    assert "2 symbols and budgets of the shape [1]" in refusal(predict(http, NAME, columns))
    assert "2 symbols and budgets of the shape [1]" in refused(stub, request_of([0, 1], [3.0]))
    assert "2 symbols and budgets of the shape []" in refused(stub, request_of([0, 1], 3.0))
    assert "does not have named input" in refusal(predict(http, NAME, {"instances": [{"symbol": 0, "features": 1}]}))
    assert "keys must be equal to" in refusal(predict(http, NAME, {"instances": [{"symbol": 0}]}))
    assert "plain list" in refusal(predict(http, NAME, {"instances": [0]}))
    assert "the tail takes [-1]" in refusal(predict(http, NAME, {"instances": [{"symbol": [0], "epsilon": 3.0}]}))
    assert "accepts 16 at once" in refusal(predict(http, NAME, rows([0] * 17, [3.0] * 17)))


def test_features_instead_of_symbols_are_refused(stub):
    import tensorflow as tf

    request = request_of([0], [3.0])
    request.inputs["symbol"].CopyFrom(tf.make_tensor_proto(np.float32([0])))
    assert "symbol" in refused(stub, request)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("number", [1, 2], ids=["another book", "another k"])
def test_a_head_of_another_code_is_refused(server, exported, protocol, number):
    url = server.url if protocol == "rest" else f"grpc://{server.target}"
    with Client(Head(exported[0][0]), url, timeout=60) as client:
        assert len(client.predict(chips(), face="given")) == len(chips())
    with (
        Client(Head(exported[0][number]), url, timeout=60) as client,
        pytest.raises(MismatchError, match="is not the tail of this head: it lacks the signature .*; serve the tail"),
    ):
        client.predict(chips(), face="given")


def test_a_manifest_without_its_code_is_refused(exported, tmp_path):
    from privzoo.serving.models.servable import MANIFEST, read_tail

    manifest = json.loads((exported[1] / NAME / "1" / MANIFEST).read_text())
    (tmp_path / MANIFEST.parent).mkdir()
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"noise": None}))
    with pytest.raises(ConfigError, match="is damaged .*; export the tail again"):
        read_tail(tmp_path)


def test_a_head_with_the_codebook_of_another_is_refused(exported, tmp_path):
    """Were its name left as it was, permanent answers would be another book's."""
    from privzoo.edge.manifest import read_manifest
    from privzoo.export.manifests import append_manifest

    path = exported[0][0]
    manifest, other = read_manifest(path), read_manifest(exported[0][1])
    flatbuffer = path.read_bytes()[: manifest["head"]["bytes"]]
    renamed = {**other["noise"]["codebook"], "name": manifest["noise"]["codebook"]["name"]}
    longer = {**manifest["noise"]["codebook"], "kernel": manifest["noise"]["codebook"]["kernel"] * 2}
    for codebook in (renamed, longer):
        changed = {**manifest, "noise": {**manifest["noise"], "codebook": codebook}}
        (tmp_path / "head.tflite").write_bytes(append_manifest(flatbuffer, changed))
        with pytest.raises(ConfigError, match="has a codebook that this privzoo cannot read; export it again"):
            Head(tmp_path / "head.tflite")
