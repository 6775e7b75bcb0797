"""Whether JSON has the types that a shape asks for; if not, every error with Marathon's paths and codes."""

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from framework.api.errors import InvalidJsonError, Violation
from framework.api.forms.shapes import Shape


def check_types(shape: type[Shape], document: object, *, at: str = "") -> dict[str, Any]:
    """What `document` gives, by its JSON names, nulls and unknown fields left out. Raises InvalidJsonError with every error."""
    try:
        return shape.model_validate(document).model_dump(by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise _refused(error, at) from None


_TEXTS = TypeAdapter(list[str], config=ConfigDict(strict=True))


def check_texts(document: object) -> list[str]:
    """A bare array of texts. Raises InvalidJsonError with every error."""
    try:
        return _TEXTS.validate_python(document)
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError, at: str = "") -> InvalidJsonError:
    found = error.errors(include_url=False)
    return InvalidJsonError([Violation(at + path_of(e["loc"]), _code(e["type"], e["input"])) for e in found])


def missing_field(name: str) -> InvalidJsonError:
    return InvalidJsonError([Violation(f"/{name}", "error.path.missing")])


def path_of(location: Sequence[str | int]) -> str:
    """`("ports", 0, "name")` -> `/ports(0)/name`; tags of a union's members are no part of it."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"({step})"
        elif not step.startswith("\0"):
            path += f"/{step}"
    return path or "/"


_CODES = {
    "missing": "error.path.missing",
    "string_type": "error.expected.jsstring",
    "int_type": "error.expected.jsnumber",
    "float_type": "error.expected.jsnumber",
    "finite_number": "error.expected.jsnumber",
    "bool_type": "error.expected.jsboolean",
    "list_type": "error.expected.jsarray",
    "dict_type": "error.expected.jsobject",
    "model_type": "error.expected.jsobject",
    "model_attributes_type": "error.expected.jsobject",
    "literal_error": "error.unknown.enum.literal",
    "greater_than_equal": "error.min",
    "less_than_equal": "error.max",
    "string_unicode": "error.expected.jsstring",
}


def _code(kind: str, given: object) -> str:
    if kind == "int_type" and isinstance(given, float):
        return "error.expected.int"
    return _CODES.get(kind, "error.invalid")
