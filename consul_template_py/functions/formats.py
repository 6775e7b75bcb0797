"""JSON, YAML and TOML, in and out. Pure. What is written out is marked as made for its syntax, so that it is not escaped again."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import tomli_w
import yaml

from consul_template_py.errors import TemplateError
from consul_template_py.escape.text import Formatted


def parse_json(text: str) -> Any:
    """Empty text is an empty map, as in consul-template."""
    if not text:
        return {}
    try:
        return json.loads(text)
    except ValueError as error:
        raise TemplateError(f"parse_json: {error}") from None


def parse_yaml(text: str) -> Any:
    if not text:
        return {}
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"parse_yaml: {' '.join(str(error).split())}") from None


def to_json(value: Any) -> Formatted:
    return Formatted(json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")), "json", "yaml")


def to_json_pretty(value: Any) -> Formatted:
    return Formatted(json.dumps(plain(value), ensure_ascii=False, indent=2), "json", "yaml")


def to_yaml(value: Any) -> Formatted:
    return Formatted(dump_yaml(plain(value)).removesuffix("\n...\n").removesuffix("\n"), "yaml")


def dump_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=False, allow_unicode=True, sort_keys=True)
    if any(char in text for char in "\x85\u2028\u2029\ufeff"):  # which a reader would take for line breaks, or drop
        text = yaml.safe_dump(value, default_flow_style=False, allow_unicode=False, sort_keys=True)
    return text


def to_toml(value: Any) -> Formatted:
    found = plain(value)
    if not isinstance(found, dict):
        raise TemplateError("to_toml needs a map")
    return Formatted(tomli_w.dumps(found).removesuffix("\n"), "toml")


def plain(value: Any) -> Any:
    """Values of this package as lists, maps and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [plain(item) for item in value]
    if isinstance(value, str) and type(value) is not str:
        return str(value)
    return value
