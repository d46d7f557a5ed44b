"""What `help` and editors show of what users call: real parameters, their types, and defaults from one home."""

from __future__ import annotations

import importlib
import inspect
import pydoc
from collections.abc import Callable, Iterator

import pytest

import privzoo
from privzoo import zoo
from privzoo.edge import AsyncClient, Client, Head
from privzoo.serving import create_app, serve
from privzoo.serving.front.service import Service
from privzoo.serving.settings import Options
from privzoo.serving.taking import taking

PACKAGES = ("privzoo", "privzoo.edge", "privzoo.faces", "privzoo.serving")
CATCHALL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def entries() -> Iterator[tuple[str, Callable]]:
    """Name and object of every public function, class, and method of a class."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) and issubclass(thing, Exception) or not callable(thing):
                continue
            yield f"{package}.{name}", thing
            if inspect.isclass(thing):
                for own, method in inspect.getmembers(thing, inspect.isfunction):
                    if not own.startswith("_") and method.__module__.startswith("privzoo"):
                        yield f"{package}.{name}.{own}", method


@pytest.mark.parametrize(("name", "thing"), list(entries()), ids=lambda value: value if isinstance(value, str) else "")
def test_public_entry_points_name_their_parameters(name, thing):
    parameters = [p for p in inspect.signature(thing).parameters.values() if p.name != "self"]
    assert not [p.name for p in parameters if p.kind in CATCHALL]
    assert not [p.name for p in parameters if p.annotation is inspect.Parameter.empty]


def own(function: Callable) -> dict[str, object]:
    """Defaults of the named parameters of a function."""
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_loading_has_the_same_defaults_everywhere():
    for name in ("list_models", "load", "show"):
        assert own(getattr(privzoo, name)) == own(getattr(zoo, name))


def test_both_clients_take_the_same():
    found = own(Client)
    assert found.pop("queue") is None
    assert found == own(AsyncClient)


def test_server_takes_the_fields_of_its_options():
    assert own(serve) == own(Options)
    assert own(create_app) == own(Service)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (Client, ["timeout: float = 10.0", "queue: "]),
        (Head, ["total_epsilon: "]),
        (privzoo.load, ["epsilon: "]),
        (serve, ["rest_api_port: int = 8501"]),
    ],
)
def test_help_shows_the_parameters(thing, words):
    text = pydoc.plain(pydoc.render_doc(thing)).replace("'", "")  # some versions of Python put types in quotes
    assert [word for word in words if word not in text] == []


def test_taking_makes_the_argument_of_what_is_given():
    @taking(Options)
    def port(options: Options) -> int:
        return options.port

    assert port("served", port=7) == 7
    assert inspect.signature(port).return_annotation == "int"
    with pytest.raises(TypeError, match="prot"):
        port("served", prot=7)
