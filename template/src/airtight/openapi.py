"""The bodies of errors in OpenAPI: each model once, referred to by every route."""

from typing import Any

from pydantic.json_schema import models_json_schema

from ..utils.errors import APIError
from .bodies import MEDIA_TYPE, Problem, ValidationProblem

REFERENCE = "#/components/schemas/{model}"
METHODS = ("delete", "get", "head", "options", "patch", "post", "put", "trace")


def raises(*error_classes: type[APIError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can raise these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error_class in error_classes:
        text = error_class.detail or (error_class.__doc__ or "").splitlines()[0]
        known = responses.get(error_class.status_code)
        if known:
            text = f"{known['description']} {text}"
        responses[error_class.status_code] = {"description": text}
    return responses


def document_errors(schema: dict[str, Any]) -> None:
    """Describe the bodies of errors in an OpenAPI document, in place."""
    _, definitions = models_json_schema(
        [(Problem, "serialization"), (ValidationProblem, "serialization")],
        ref_template=REFERENCE,
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas |= definitions["$defs"]
    for path in schema.get("paths", {}).values():
        for method in METHODS:
            if method in path:
                _document_operation(path[method])


def _document_operation(operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    responses.pop("422", None)
    if "parameters" in operation or "requestBody" in operation:
        responses["422"] = _response("The request is not valid.", ValidationProblem)
    for status, response in responses.items():
        if status.startswith(("4", "5")) and "content" not in response:
            responses[status] = _response(response["description"], Problem)
    responses.setdefault("default", _response("Another error.", Problem))


def _response(description: str, model: type[Any]) -> dict[str, Any]:
    reference = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": reference}}}
