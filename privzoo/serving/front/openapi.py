"""The OpenAPI description of the REST interface."""

from __future__ import annotations

from typing import Any

from privzoo.version import __version__

PATH = "/openapi.json"
TITLE, DESCRIPTION = "privzoo", "TF Serving's REST protocol."


def document() -> dict[str, Any]:
    """What the REST interface answers, as an OpenAPI 3.1 document."""
    name = _parameter("name", {"type": "string"})
    places = [
        ("", [name]),
        ("/versions/{version}", [name, _parameter("version", {"type": "integer", "minimum": 0})]),
        ("/labels/{label}", [name, _parameter("label", {"type": "string"})]),
    ]
    sentence = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    refused = {"description": "Refused", "content": {"application/json": {"schema": sentence}}}
    done = {"200": {"description": "Answered", "content": {"application/json": {"schema": {"type": "object"}}}}}
    answers = done | {str(status): refused for status in (400, 401, 404, 429)}
    more = answers | {str(status): refused for status in (408, 413, 501, 503)}
    tensor = {"description": "Numbers, booleans, strings or {'b64': ...}, in nested lists."}
    example = {"type": "object", "description": "Feature name -> value or list of values."}
    predict = _body({"instances": tensor, "inputs": tensor})
    classify = _body({"context": example, "examples": {"type": "array", "items": example}})
    paths: dict[str, Any] = {}
    for place, parameters in places:
        path, base = f"/v1/models/{{name}}{place}", {"parameters": parameters, "responses": answers}
        for verb, body in (("predict", predict), ("classify", classify), ("regress", classify)):
            entry = base | {"requestBody": body, "responses": more}
            paths[f"{path}:{verb}"] = {"post": {"summary": verb.capitalize()} | entry}
        paths[path] = {"get": {"summary": "Model status"} | base}
        paths[f"{path}/metadata"] = {"get": {"summary": "Model metadata"} | base}
    info = {"title": TITLE, "description": DESCRIPTION, "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"signature_name": {"type": "string"}, **properties}}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
