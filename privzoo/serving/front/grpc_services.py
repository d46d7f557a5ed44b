"""TF Serving's gRPC services on `grpc.aio`: PredictionService and ModelService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from privzoo.errors import PrivzooError
from privzoo.serving.front.grpc_reading import refuse, sent_key
from privzoo.serving.front.service import Service, unexpected
from privzoo.serving.models.servable import Servable
from privzoo.serving.wire import classify
from privzoo.serving.wire.protos import inputs_of, predict_plan, set_tensor
from privzoo.serving.wire.refusal import CODES, Refusal, bad_request

_NUMBERS = {name: number for number, name in CODES.items()}
Wanted = tuple[str, int | None, str | None]


async def answer(
    service: Service,
    context: grpc.aio.ServicerContext,
    role: str,
    work: Callable[[], Awaitable[Any]],
    note: Callable[[str], None] = lambda code: None,
) -> Any:
    """Answers a call, or ends it with the code and the sentence of its refusal.

    Args:
        service: whose keys and limits hold.
        context: of the call.
        role: that a key needs for it.
        work: makes the response.
        note: gets the code, before the caller has it: so that metrics do not lag behind what callers know.
    """
    code = "CANCELLED"
    try:
        with service.admit():
            _check_key(service, context, role)
            response = await work()
        code = "OK"
        return response
    except Refusal as refusal:
        failed, code = refusal, refusal.code
    except Exception as error:
        failed = unexpected(error)
        code = failed.code
    finally:
        note(code)
    await refuse(context, failed)


def _check_key(service: Service, context: grpc.aio.ServicerContext, role: str) -> None:
    if service.keys is not None:
        service.keys.check(sent_key(context), role)
    elif role == "admin":  # where the caller is proves nothing: behind a proxy, all of them are local
        raise Refusal(
            "PERMISSION_DENIED",
            "A server without API keys does not change its models on request; start it with --api_key_file, and use "
            "an admin's key.",
        )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata.

    Args:
        service: that runs them.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    async def Predict(self, request: Any, context: Any) -> Any:
        """Runs a signature on tensors."""
        return await self._inference("Predict", request, context, self._predict)

    async def Classify(self, request: Any, context: Any) -> Any:
        """Returns the classes of examples."""
        return await self._inference("Classify", request, context, self._classify)

    async def Regress(self, request: Any, context: Any) -> Any:
        """Returns a number for each example."""
        return await self._inference("Regress", request, context, self._regress)

    async def MultiInference(self, request: Any, context: Any) -> None:
        """Not supported: not part of TF Serving's REST protocol, and not needed by the zoo."""
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "This server has no MultiInference; send Classify and Regress requests."
        )

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Returns the signatures of a model."""

        async def work() -> Any:
            if not request.HasField("model_spec"):
                raise bad_request("Missing ModelSpec")
            if not request.metadata_field:
                raise bad_request("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != "signature_def":
                    raise bad_request(f"Metadata field {field[:80]} is not supported")
            servable = self.service.models.find(*wanted_of(request))
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in servable.model.signature_protos.items():
                signatures.signature_def[name].CopyFrom(definition)
            response.metadata["signature_def"].Pack(signatures)
            return response

        return await answer(self.service, context, "predict", work)

    async def _inference(self, api: str, request: Any, context: Any, run: Callable[..., Awaitable[Any]]) -> Any:
        start = time.perf_counter()

        async def work() -> Any:
            with self.service.models.lease(*wanted_of(request)) as servable:
                return await run(servable, request)

        def note(code: str) -> None:
            self.service.record(request.model_spec.name, api, "GRPC", start, code)

        return await answer(self.service, context, "predict", work, note)

    async def _predict(self, servable: Servable, request: Any) -> Any:
        name, signature, wanted = predict_plan(servable, request)
        inputs = await self.service.work(request.ByteSize(), inputs_of, request, self.service.max_body_bytes)
        outputs = await self.service.run(servable, signature, inputs, "Predict")
        kept = {alias: outputs[alias] for alias in wanted or outputs}
        size = sum(array.nbytes for array in kept.values())
        return await self.service.work(size, _predict_response, servable, name, kept)

    async def _classify(self, servable: Servable, request: Any) -> Any:
        outputs, name, count = await self._examples("classify", servable, request)
        response = classification_pb2.ClassificationResponse()
        _set_spec(response.model_spec, servable, name)
        for row in classify.classifications(outputs, count):
            classes = response.result.classifications.add().classes
            for label, score in row:
                classes.add(label=label.decode("utf-8", "replace"), score=score)
        return response

    async def _regress(self, servable: Servable, request: Any) -> Any:
        outputs, name, count = await self._examples("regress", servable, request)
        response = regression_pb2.RegressionResponse()
        _set_spec(response.model_spec, servable, name)
        for value in classify.regressions(outputs, count):
            response.result.regressions.add(value=value)
        return response

    async def _examples(self, verb: str, servable: Servable, request: Any) -> tuple[dict[str, Any], str, int]:
        name = request.model_spec.signature_name or "serving_default"
        signature = classify.signature_for(servable, name, verb)
        examples = classify.examples_of_input(request.input)
        outputs = await self.service.run(servable, signature, classify.as_inputs(examples), verb.capitalize())
        return outputs, name, len(examples)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest.

    Args:
        service: whose models they report.
        reload: takes a ModelServerConfig and waits until its models serve; None: the server's models are fixed.
        reload_without_key: anyone may request it on a server without keys.
    """

    def __init__(
        self, service: Service, reload: Callable[[Any], None] | None, reload_without_key: bool = False
    ) -> None:
        self.service, self._reload = service, reload
        # If there is nothing to reload, no key is asked for.
        self._role = "predict" if reload is None or (reload_without_key and service.keys is None) else "admin"

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Returns the states of a model's versions."""

        async def work() -> Any:
            if not request.HasField("model_spec"):
                raise bad_request("Missing ModelSpec")
            response = get_model_status_pb2.GetModelStatusResponse()
            document = self.service.models.status(*wanted_of(request, named=False))
            for entry in document["model_version_status"]:
                status = response.model_version_status.add(
                    version=int(entry["version"]),
                    state=get_model_status_pb2.ModelVersionStatus.State.Value(entry["state"]),
                )
                status.status.error_code = _NUMBERS.get(entry["status"]["error_code"], 0)
                status.status.error_message = entry["status"]["error_message"]
            return response

        return await answer(self.service, context, "predict", work)

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Replaces the list of models that the server has."""

        async def work() -> Any:
            if self._reload is None:
                raise Refusal("UNIMPLEMENTED", "The models of this server are fixed; start it with privzoo serve.")
            if request.config.WhichOneof("config") != "model_config_list":
                raise bad_request(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._reload, request.config)
            except PrivzooError as error:
                raise Refusal("FAILED_PRECONDITION", str(error)) from None
            return model_management_pb2.ReloadConfigResponse()

        return await answer(self.service, context, self._role, work)


def wanted_of(request: Any, named: bool = True) -> Wanted:
    """Name, version and label that a request's ModelSpec asks for.

    Raises:
        Refusal: it has no name.
    """
    spec = request.model_spec
    if named and not spec.name:
        raise bad_request("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _set_spec(spec: Any, servable: Servable, signature: str) -> None:
    spec.name, spec.signature_name = servable.name, signature
    spec.version.value = servable.version


def _predict_response(servable: Servable, signature: str, outputs: dict[str, Any]) -> Any:
    response = predict_pb2.PredictResponse()
    _set_spec(response.model_spec, servable, signature)
    for alias, array in outputs.items():
        set_tensor(response.outputs[alias], array)
    return response
