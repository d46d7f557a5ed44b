"""The cloud: serves tails, and any other SavedModel, over TF Serving's REST and gRPC protocols.

Importing this package imports neither TensorFlow nor the web server. What a client can notice beside TF Serving: bodies
over `--max_body_bytes` are refused (413), features of the zoo's tails have to be finite and of the head's shape, error
messages leave the insides of lists and objects out, JSON comes without indentation, there is no MultiInference, a
tail's answer that is not finite is an error, bodies in other encodings than gzip are refused (415), and a server that
is busy, or whose memory for requests (`--max_bytes_in_flight`) is taken, says so (429, RESOURCE_EXHAUSTED). What an
operator can: the server listens on the loopback interface unless `--host` says otherwise, `--rest_api_port` has a
default, 0 as a port means any free one, a model whose versions all disappear keeps its last one, models change on
request for an admin's key only, and `--ssl_config_file` holds for REST too.

Example:
    >>> with Server("served/vgg16_gender_simple_conv5_3", "vgg16_gender_simple_conv5_3") as server:  # doctest: +SKIP
    ...     print(server.url)
"""

from __future__ import annotations

from typing import Any

from privzoo.errors import MissingExtraError
from privzoo.serving.flags import add_flags, main
from privzoo.serving.process import Server

__all__ = ["Models", "Server", "add_flags", "create_app", "load_versions", "main", "serve"]
_HEAVY = {
    "Models": "models.registry",
    "create_app": "front.rest",
    "load_versions": "models.servable",
    "serve": "engines.serve",
}


def __getattr__(name: str) -> Any:
    """Imports the parts that need the server's packages when they are asked for."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HEAVY[name]}"), name)
    except ImportError as error:
        raise MissingExtraError(f"The server needs {error.name}; run: pip install 'privzoo[cloud]'") from None
