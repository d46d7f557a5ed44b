"""The entries of the server's OpenAPI page."""

from __future__ import annotations

from typing import Any

Page = tuple[str, str, str, dict[str, Any]]


def pages() -> list[Page]:
    """Method, path, summary and OpenAPI entry of what the REST interface answers."""
    name = _parameter("name", {"type": "string"})
    places = [
        ("", [name]),
        ("/versions/{version}", [name, _parameter("version", {"type": "integer", "minimum": 0})]),
        ("/labels/{label}", [name, _parameter("label", {"type": "string"})]),
    ]
    sentence = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    refused = {"description": "Refused", "content": {"application/json": {"schema": sentence}}}
    answers = {str(status): refused for status in (400, 401, 404, 429)}
    more = answers | {str(status): refused for status in (408, 413, 501, 503)}
    tensor = {"description": "Numbers, booleans, strings or {'b64': ...}, in nested lists."}
    example = {"type": "object", "description": "Feature name -> value or list of values."}
    predict = _body({"instances": tensor, "inputs": tensor})
    classify = _body({"context": example, "examples": {"type": "array", "items": example}})
    found: list[Page] = []
    for place, parameters in places:
        path, base = f"/v1/models/{{name}}{place}", {"parameters": parameters, "responses": answers}
        for verb, body in (("predict", predict), ("classify", classify), ("regress", classify)):
            entry = base | {"requestBody": body, "responses": more}
            found.append(("POST", f"{path}:{verb}", verb.capitalize(), entry))
        found.append(("GET", path, "Model status", base))
        found.append(("GET", f"{path}/metadata", "Model metadata", base))
    return found


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"signature_name": {"type": "string"}, **properties}}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
