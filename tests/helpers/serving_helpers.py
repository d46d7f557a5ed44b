"""Helpers of the server's tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import numpy as np
from serving_models import FEATURE

LIMIT = 200_000  # bytes of a body


class Running:
    """A server in a thread of this process."""

    def __init__(self, rest_port: int, grpc_port: int, service, scheme: str = "http"):
        self.url = f"{scheme}://127.0.0.1:{rest_port}"
        self.port, self.service, self.target = rest_port, service, f"127.0.0.1:{grpc_port}"


@contextlib.contextmanager
def running(
    models, reload=None, tls=None, max_connections=1024, header_seconds=10.0, reload_without_key=False, **options
):
    """REST and gRPC for models, on free loopback ports."""
    import uvicorn

    from privzoo.serving.engines.common import bind
    from privzoo.serving.front.grpc_server import GrpcServer
    from privzoo.serving.front.http_limits import limited
    from privzoo.serving.front.rest import app_for
    from privzoo.serving.front.service import Service

    service = Service(models, **{"threads": 4, "max_body_bytes": LIMIT, **options})
    listener = bind("127.0.0.1", 0)
    listener.listen(128)
    config = uvicorn.Config(
        app_for(service),
        http=limited(max_connections, header_seconds),
        log_level="warning",
        access_log=False,
        ssl_context_factory=None if tls is None else lambda config, default: tls.context(),
    )
    server = uvicorn.Server(config)
    ready, found = threading.Event(), {}

    credentials = tls and tls.grpc_credentials()

    async def main():
        grpc_server = GrpcServer(
            service, reload, port=0, credentials=credentials, reload_without_key=reload_without_key
        )
        await grpc_server.start()
        found["port"] = grpc_server.port
        ready.set()
        await server.serve([listener])
        await grpc_server.stop(5)

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    assert ready.wait(60)
    try:
        yield Running(listener.getsockname()[1], found["port"], service, "http" if tls is None else "https")
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def predict(http, model, body, place="", verb="predict"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/v1/models/{model}{place}:{verb}", content=content)


def refusal(response, status=400):
    """The sentence of an answer that refuses a request."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = json.loads(response.content)
    assert list(document) == ["error"]
    sentence = document["error"]
    for trace in ("\n", "Traceback", "{{", "[[", "node "):
        assert trace not in sentence
    return sentence


def features(*batch):
    return np.linspace(0, 1, int(np.prod([*batch, *FEATURE]))).reshape(*batch, *FEATURE).tolist()


def pem_config(path, certificate, authority=None):
    quote = lambda pem: pem.decode().replace("\n", "\\n")  # noqa: E731
    text = f'server_key: "{quote(certificate.private_key_pem.bytes())}"\n'
    text += 'server_cert: "' + "".join(quote(p.bytes()) for p in certificate.cert_chain_pems) + '"\n'
    if authority is not None:
        text += f'custom_ca: "{quote(authority.cert_pem.bytes())}"\nclient_verify: true\n'
    path.write_text(text)
    return path


def request_of(model, signature="", version=None, label=None, outputs=(), **inputs):
    """A PredictRequest."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            value if hasattr(value, "dtype") and not isinstance(value, np.ndarray) else tf.make_tensor_proto(value)
        )
    return request


def arrays(response):
    """The outputs of a PredictResponse."""
    import tensorflow as tf

    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
