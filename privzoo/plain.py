"""Frozen dataclasses as plain data and as YAML files, checked field by field on the way in."""

from __future__ import annotations

import dataclasses
import functools
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from privzoo.errors import ConfigError
from privzoo.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Entry = TypeVar("Entry")


@functools.cache  # a card has hundreds of measurements
def _kinds(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        return None if value is None else _value(arguments[0], value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_dict(kind, value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} is {value!r}; choose one of {', '.join(map(repr, arguments))}.")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(k): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    hint = "put it in quotes" if kind is str and isinstance(value, bool | int | float) else "correct that entry"
    raise ConfigError(f"{where} is {value!r}, which is not of type {getattr(kind, '__name__', kind)}; {hint}.")


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Builds a config dataclass from plain data.

    Args:
        cls: the dataclass.
        data: a mapping as read from YAML or JSON.
        where: file or field, for error messages.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must be a mapping of {cls.__name__}'s fields, not {type(data).__name__}.")
    kinds = _kinds(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(f"{where} has an unknown entry {key!r}; {cls.__name__} has {', '.join(fields)}.")
    for name, f in fields.items():
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where} lacks the entry {name!r}.")
    return cls(**{key: _value(kinds[key], value, f"{where}: {key}") for key, value in data.items()})


def given(entry: Entry | None, lack: str) -> Entry:
    """Returns an optional entry of a config where it is needed, or says that it is missing.

    Args:
        entry: of the config.
        lack: the beginning of the message, such as "vgg16_gender_simple_conv5_3 has no slim head".

    Raises:
        ConfigError: it was left out.
    """
    if entry is None:
        raise ConfigError(f"{lack}; enter it in its file in zoo_configs.")
    return entry


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data of a config dataclass, from which `from_dict` builds an equal one."""
    return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def to_plain(value: Any) -> Any:
    """Any entry of a config as plain data: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [to_plain(v) for v in value] if isinstance(value, tuple) else value


def read(cls: type[T], path: Path) -> T:
    """Reads a config dataclass from a YAML file.

    Raises:
        ConfigError: the file is missing, is not valid YAML, or does not fit the dataclass.
    """
    import yaml

    try:
        # The same language as `yaml.safe_load`, read by C where PyYAML was built with it.
        data = yaml.load(Path(path).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The config file {path} is not valid YAML: {str(error).splitlines()[0]}.") from None
    return from_dict(cls, data, str(path))


def write(config: Any, path: Path) -> None:
    """Writes a config dataclass to a YAML file atomically."""
    import yaml

    write_text(path, yaml.safe_dump(to_dict(config), sort_keys=False, width=120))
