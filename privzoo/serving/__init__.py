"""The cloud side: serves tails, or any other SavedModel, over TF Serving's REST and gRPC protocols.

Importing this package imports neither TensorFlow nor the web server.

Differences from TF Serving that a client can notice: bodies over `--max_body_bytes` are refused (413), features for the
zoo's tails must be finite and of the head's shape, error
messages omit the contents of lists and objects, JSON is not indented, there is no MultiInference, a tail's answer that
is not finite is an error, bodies in encodings other than gzip are refused (415), and a server that is busy, or whose
memory for requests (`--max_bytes_in_flight`) is used up, says so (429, RESOURCE_EXHAUSTED). Differences that an
operator can notice: the server listens on the loopback interface unless `--host` says otherwise, `--rest_api_port` has
a default, port 0 means any free one, a model whose versions all disappear keeps its last one, only an admin's key may
change the models, and `--ssl_config_file` applies to REST too.

Example:
    >>> with Server("served/vgg16_gender_simple_conv5_3", "vgg16_gender_simple_conv5_3") as server:  # doctest: +SKIP
    ...     print(server.url)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privzoo.errors import MissingExtraError
from privzoo.serving.flags import add_flags, main
from privzoo.serving.process import Server

if TYPE_CHECKING:
    from privzoo.serving.engines.serve import serve
    from privzoo.serving.front.rest import create_app
    from privzoo.serving.models.registry import Models
    from privzoo.serving.models.servable import load_versions

__all__ = ["Models", "Server", "add_flags", "create_app", "load_versions", "main", "serve"]
_HEAVY = {
    "Models": "models.registry",
    "create_app": "front.rest",
    "load_versions": "models.servable",
    "serve": "engines.serve",
}


def __getattr__(name: str) -> Any:
    """Imports the parts that need the server's packages on first use."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HEAVY[name]}"), name)
    except ImportError as error:
        raise MissingExtraError(f"The server needs {error.name}; run: pip install 'privzoo[cloud]'") from None
