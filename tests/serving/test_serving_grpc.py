"""The server's gRPC interface over a real socket, asked by the official stubs."""

from __future__ import annotations

import numpy as np
import pytest
from serving_helpers import LIMIT, arrays, request_of, running
from serving_models import FEATURE, TAIL, TYPES

pytestmark = pytest.mark.server

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")
ALL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.target, options=ALL) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def status(channel):
    from tensorflow_serving.apis import model_service_pb2_grpc

    return model_service_pb2_grpc.ModelServiceStub(channel)


def refused(call, request, code):
    """The sentence of a call that is refused with a code."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    assert caught.value.code() is getattr(grpc.StatusCode, code), caught.value
    sentence = caught.value.details()
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    return sentence


def test_predict_with_versions_and_labels(stub):
    x = np.array([1, 3], np.float32)
    response = stub.Predict(request_of("half", x=x), timeout=60)
    np.testing.assert_array_equal(arrays(response)["y"], [10.5, 11.5])
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half", 10, "serving_default")
    # As TF Serving: values in the field of their type, so that clients without TensorFlow find them there.
    assert list(response.outputs["y"].float_val) == [10.5, 11.5] and not response.outputs["y"].tensor_content
    np.testing.assert_array_equal(arrays(stub.Predict(request_of("half", version=2, x=x)))["y"], [2.5, 3.5])
    np.testing.assert_array_equal(arrays(stub.Predict(request_of("half", label="stable", x=x)))["y"], [2.5, 3.5])


def test_an_output_filter(stub):
    inputs = {"a": np.ones((2, 2), np.float32), "n": np.array([3, 4]), "tag": np.array([b"x", b"y"], object)}
    everything = arrays(stub.Predict(request_of("several", **inputs)))
    assert set(everything) == {"total", "tag", "tag_bytes", "odd"}
    some = arrays(stub.Predict(request_of("several", outputs=["odd", "tag"], **inputs)))
    assert set(some) == {"odd", "tag"} and some["tag"].tolist() == [b"X", b"Y"]
    unknown = refused(stub.Predict, request_of("several", outputs=["none"], **inputs), "INVALID_ARGUMENT")
    assert "output tensor alias not found in signature: none Outputs expected to be in the set {odd,tag," in unknown
    twice = refused(stub.Predict, request_of("several", outputs=["odd", "odd"], **inputs), "INVALID_ARGUMENT")
    assert twice == "duplicate output tensor alias: odd"


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_comes_back_as_it_was(stub, dtype):
    if dtype == "string":
        values = np.array([[b"a\xff", b""]], object)
    elif dtype == "bool":
        values = np.array([[True, False]])
    elif dtype.startswith("float"):
        values = np.array([[0.1, np.nan]], dtype)
    else:
        values = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
    for sent in (values, values[0, 0:1].reshape(()) if dtype != "string" else values, values[:0]):
        back = arrays(stub.Predict(request_of(f"same_{dtype}", x=sent)))["y"]
        assert back.dtype == sent.dtype and back.shape == sent.shape
        np.testing.assert_array_equal(back, sent)


def test_types_that_json_cannot_hold(stub):
    back = arrays(stub.Predict(request_of("halves", x=np.array([0.5, -2], np.float16))))["y"]
    assert back.dtype == np.float16 and back.tolist() == [0.5, -2]
    both = arrays(stub.Predict(request_of("complex", x=np.array([1, 2], np.float32))))["y"]
    assert both.tolist() == [1 + 1j, 2 + 2j]


def test_what_predict_refuses(stub):
    x = np.ones(2, np.float32)
    assert refused(stub.Predict, request_of("", x=x), "INVALID_ARGUMENT") == "ModelSpec has no name specified."
    missing = refused(stub.Predict, request_of("none", x=x), "NOT_FOUND")
    assert missing == "Servable not found for request: Latest(none)"
    assert "Specific(half, 7)" in refused(stub.Predict, request_of("half", version=7, x=x), "NOT_FOUND")
    label = refused(stub.Predict, request_of("half", label="old", x=x), "INVALID_ARGUMENT")
    assert label == "Unrecognized servable version label: old"
    name = refused(stub.Predict, request_of("half", signature="none", x=x), "FAILED_PRECONDITION")
    assert name == 'Serving signature key "none" not found.'
    inputs = refused(stub.Predict, request_of("half", y=x), "INVALID_ARGUMENT")
    assert "Sent extra: {y}. Missing but required: {x}." in inputs
    kind = refused(stub.Predict, request_of("half", x=np.ones(2, np.int64)), "INVALID_ARGUMENT")
    assert "cannot be run on inputs of the shapes x [2]" in kind
    assert "Matrix size-incompatible" in refused(
        stub.Predict, request_of("dense", x=np.ones((1, 3), np.float32)), "INVALID_ARGUMENT"
    )


def test_tensors_that_cannot_be(stub):
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

    dim = tensor_shape_pb2.TensorShapeProto.Dim
    for sizes, values, words in (
        ([2**40], [1.0], "declares"),
        ([2**20, 2**20, 2**20], [], "declares"),
        ([-1], [1.0], "invalid shape"),
        ([3], [1.0] * 5, "does not contain"),
        ([1] * 40, [1.0], "invalid shape"),
    ):
        shape = tensor_shape_pb2.TensorShapeProto(dim=[dim(size=size) for size in sizes])
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape, float_val=values)
        assert words in refused(stub.Predict, request_of("half", x=tensor), "INVALID_ARGUMENT")
    short = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123")
    short.tensor_shape.dim.add(size=4)
    assert "does not contain" in refused(stub.Predict, request_of("half", x=short), "INVALID_ARGUMENT")
    none = tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE)
    refused(stub.Predict, request_of("half", x=none), "INVALID_ARGUMENT")
    filled = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2.0])
    filled.tensor_shape.dim.add(size=3)  # one value for all, as TensorFlow itself writes it
    assert arrays(stub.Predict(request_of("half", version=1, x=filled)))["y"].tolist() == [2, 2, 2]


def test_a_tail_checks_its_features(stub):
    good = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, *FEATURE)
    plain, named = (arrays(stub.Predict(request_of("tail", s, features=good)))["probabilities"] for s in ("", TAIL))
    np.testing.assert_array_equal(plain, named)
    other = refused(stub.Predict, request_of("tail", "tail_ffffffffffff", features=good), "FAILED_PRECONDITION")
    assert "This head does not belong to this tail" in other and "tail_ffffffffffff" in other
    wrong = good.copy()
    wrong[0, 0, 0, 0] = np.nan
    assert "1 of the 24 numbers" in refused(stub.Predict, request_of("tail", features=wrong), "INVALID_ARGUMENT")
    assert "have the shape [2,12]" in refused(
        stub.Predict, request_of("tail", features=good.reshape(2, 12)), "INVALID_ARGUMENT"
    )
    many = np.zeros((1025, *FEATURE), np.float32)
    assert "1025 features, but this server accepts 1024" in refused(
        stub.Predict, request_of("tail", features=many), "INVALID_ARGUMENT"
    )


def input_of(*rows, context=None):
    from tensorflow.core.example import example_pb2
    from tensorflow_serving.apis import input_pb2

    def example(features):
        made = example_pb2.Example()
        for name, values in features.items():
            made.features.feature[name].float_list.value.extend(values)
        return made

    if context is None:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=[example(row) for row in rows]))
    both = input_pb2.ExampleListWithContext(examples=[example(row) for row in rows], context=example(context))
    return input_pb2.Input(example_list_with_context=both)


def test_classify_and_regress(stub):
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    rows = [{"x": [0.5, 2]}, {"x": [1, 2], "bias": [1]}]
    request = classification_pb2.ClassificationRequest(input=input_of(*rows))
    request.model_spec.name = "examples"
    response = stub.Classify(request, timeout=60)
    found = [[(c.label, c.score) for c in row.classes] for row in response.result.classifications]
    assert found == [[("low", 0.5), ("high", 2.0)], [("low", 2.0), ("high", 3.0)]]
    assert response.model_spec.version.value == 1
    request = regression_pb2.RegressionRequest(input=input_of(*rows, context={"bias": [10]}))
    request.model_spec.name, request.model_spec.signature_name = "examples", "regress"
    assert [r.value for r in stub.Regress(request).result.regressions] == [22.5, 5.0]
    request.input.Clear()
    assert refused(stub.Regress, request, "INVALID_ARGUMENT") == "Input is empty."
    request.model_spec.signature_name = "serving_default"
    assert "Expected regression signature" in refused(stub.Regress, request, "INVALID_ARGUMENT")
    request.model_spec.signature_name = "regress_other_input"
    assert "No regression inputs" in refused(stub.Regress, request, "FAILED_PRECONDITION")


def test_metadata(stub):
    from tensorflow_serving.apis import get_model_metadata_pb2 as pb

    request = pb.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert refused(stub.GetModelMetadata, request, "INVALID_ARGUMENT") == "Missing ModelSpec"
    request.model_spec.name = "tail"
    response = stub.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("tail", 3)
    signatures = pb.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", TAIL} <= set(signatures.signature_def)
    shape = signatures.signature_def[TAIL].inputs["features"].tensor_shape
    assert [dim.size for dim in shape.dim] == [-1, *FEATURE]
    request.metadata_field.append("more")
    assert refused(stub.GetModelMetadata, request, "INVALID_ARGUMENT") == "Metadata field more is not supported"
    del request.metadata_field[:]
    assert "at least one metadata_field" in refused(stub.GetModelMetadata, request, "INVALID_ARGUMENT")


def test_status(status):
    from tensorflow_serving.apis import get_model_status_pb2 as pb

    request = pb.GetModelStatusRequest()
    assert refused(status.GetModelStatus, request, "INVALID_ARGUMENT") == "Missing ModelSpec"
    request.model_spec.name = "half"
    found = status.GetModelStatus(request).model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in found] == [
        (v, pb.ModelVersionStatus.AVAILABLE, 0) for v in (1, 2, 10)
    ]
    request.model_spec.version.value = 3
    assert refused(status.GetModelStatus, request, "NOT_FOUND") == "Could not find version 3 of model half"


def test_what_this_server_does_not_do(stub, status):
    from tensorflow_serving.apis import inference_pb2, model_management_pb2

    assert "no MultiInference" in refused(stub.MultiInference, inference_pb2.MultiInferenceRequest(), "UNIMPLEMENTED")
    fixed = refused(status.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest(), "UNIMPLEMENTED")
    assert "models of this server are fixed" in fixed


def test_health(channel):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "tensorflow.serving.PredictionService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_messages_over_the_limit_are_refused_and_the_server_goes_on(stub):
    big = np.zeros(2**19, np.float32)
    assert big.nbytes > LIMIT + 2**20
    refused(stub.Predict, request_of("half", x=big), "RESOURCE_EXHAUSTED")
    assert stub.Predict(request_of("half", x=big[:10]))


def test_64_features_of_conv5_fit_the_default_limit(models):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from privzoo.serving.settings import MAX_BODY_BYTES

    features = np.ones((64, 14, 14, 512), np.float32)  # conv5_1 of VGG-16 at 224 px: 401,408 bytes each
    with running(models, max_body_bytes=MAX_BODY_BYTES) as server, grpc.insecure_channel(server.target, ALL) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        back = stub.Predict(request_of("same_float32", x=features), timeout=120)
        assert arrays(back)["y"].shape == features.shape


def test_a_failure_inside_logs_its_place_and_no_feature(stub, models, monkeypatch, caplog):
    def fail(signature, inputs):
        raise ValueError(f"the feature was {inputs['x']}")

    monkeypatch.setattr(models.find("half").model, "run", fail)
    sentence = refused(stub.Predict, request_of("half", x=np.array([0.123456789], np.float32)), "INTERNAL")
    assert "0.1234" not in caplog.text + sentence and "ValueError while answering a request" in caplog.text


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x08"])
def test_messages_that_are_none_are_refused_in_a_sentence(channel, message, caplog):
    """grpc.aio itself would answer INTERNAL or UNKNOWN, and write a trace into the log."""
    for method in (
        "tensorflow.serving.PredictionService/Predict",
        "tensorflow.serving.PredictionService/GetModelMetadata",
        "tensorflow.serving.ModelService/GetModelStatus",
        "tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "grpc.health.v1.Health/Check",
    ):
        with pytest.raises(grpc.RpcError, match="is not a request of") as error:
            channel.unary_unary(f"/{method}")(message, timeout=60)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError, match="is not a request of Watch"):
        next(channel.unary_stream("/grpc.health.v1.Health/Watch")(message, timeout=60))
    with pytest.raises(grpc.RpcError, match="not found") as error:
        channel.unary_unary("/tensorflow.serving.PredictionService/None")(message, timeout=60)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not caplog.text
