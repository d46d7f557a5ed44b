"""Classes of protobuf messages from their fields, where a package that has them would bring TensorFlow with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

WRAPPERS = {"int64": "Int64Value", "bool": "BoolValue", "string": "StringValue"}


def classes(
    package: str,
    messages: Mapping[str, Mapping[str, tuple[int, str]]],
    enums: Mapping[str, Mapping[str, int]] | None = None,
    syntax: Literal["proto2", "proto3"] = "proto3",
) -> dict[str, Any]:
    """Builds the classes of messages.

    Args:
        package: of the messages, such as "privzoo.edge".
        messages: message -> field -> (number, type). A type is a scalar's ("int64", "int32", "bytes", "string",
            "float", "double", "bool"), an enum's behind "=", or another message's; before it, "*" makes the field
            repeated; behind it, "?" takes protobuf's wrapper of a scalar, which tells an absent value from 0.
        enums: enum -> value's name -> number. Names of values are unique in the package.
        syntax: of the messages; proto2's know of every field whether it is there (`HasField`).

    Returns:
        Message -> class.

    Example:
        >>> point = classes("example", {"Point": {"x": (1, "int64"), "y": (2, "int64")}})["Point"]
        >>> point(x=1, y=2).SerializeToString()
        b'\\x08\\x01\\x10\\x02'
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    field = descriptor_pb2.FieldDescriptorProto
    kinds = ("int64", "int32", "bytes", "string", "float", "double", "bool")
    scalars = {kind: getattr(field, f"TYPE_{kind.upper()}") for kind in kinds}
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto",
        package=package,
        syntax=syntax,
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, values in (enums or {}).items():
        enum = file.enum_type.add(name=name)
        for label, number in values.items():
            enum.value.add(name=label, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for label, (number, kind) in fields.items():
            entry = message.field.add(name=label, number=number, label=field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                entry.label, kind = field.LABEL_REPEATED, kind[1:]
            if kind in scalars:
                entry.type = scalars[kind]
            elif kind.startswith("="):
                entry.type, entry.type_name = field.TYPE_ENUM, f".{package}.{kind[1:]}"
            else:
                wrapped = kind.endswith("?")
                entry.type = field.TYPE_MESSAGE
                entry.type_name = f".google.protobuf.{WRAPPERS[kind[:-1]]}" if wrapped else f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}
