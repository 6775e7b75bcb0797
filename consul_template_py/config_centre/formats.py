"""Values as files, and files as values: env, json, yaml, toml, properties. Pure."""

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w
import yaml

from consul_template_py.errors import ConfigError
from consul_template_py.functions.collections import explode_map
from consul_template_py.functions.formats import dump_yaml

FORMATS = ("env", "json", "yaml", "toml", "properties")
BY_SUFFIX = {
    ".env": "env",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".properties": "properties",
}

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)=(?P<value>.*)")


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """`app/db-url` is APP_DB_URL. Raises ConfigError if two paths give one name."""
    made: dict[str, str] = {}
    origin: dict[str, str] = {}
    for path, value in values.items():
        name = re.sub(r"\W", "_", path, flags=re.ASCII).upper()
        name = f"_{name}" if name[0].isdigit() else name
        if name in made:
            raise ConfigError(f"{origin[name]} and {path} would both be the variable {name}")
        if "\0" in value:
            raise ConfigError(f"{path}: a variable cannot hold NUL")
        made[name], origin[name] = value, path
    return made


def write(values: Mapping[str, str], format: str) -> str:
    if format == "env":
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables(values).items())
    if format == "properties":
        return "".join(
            f"{_property(path.replace('/', '.'), key=True)}={_property(value)}\n" for path, value in values.items()
        )
    nested = explode_map(values)
    if format == "json":
        return json.dumps(nested, ensure_ascii=False, indent=2) + "\n"
    if format == "yaml":
        return dump_yaml(nested)
    if format == "toml":
        return tomli_w.dumps(nested)
    raise ConfigError(f"format {format!r} is none of {', '.join(FORMATS)}")


def read(text: str, format: str) -> dict[str, str]:
    """Paths and values. Raises ConfigError."""
    try:
        if format == "json":
            return _flat(json.loads(text))
        if format == "yaml":
            return _flat(yaml.safe_load(text) or {})
        if format == "toml":
            return _flat(tomllib.loads(text))
        if format == "env":
            return _read_env(text)
        if format == "properties":
            return _read_properties(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"not {format}: {' '.join(str(error).split())}") from None
    raise ConfigError(f"format {format!r} is none of {', '.join(FORMATS)}")


def _flat(document: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(document, dict):
        raise ConfigError("the file is to hold a table of names and values")
    found: dict[str, str] = {}
    for name, value in document.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            found |= _flat(value, f"{path}/")
        elif isinstance(value, str):
            found[path] = value
        elif isinstance(value, bool) or value is None or isinstance(value, list):
            found[path] = json.dumps(value)
        else:
            found[path] = str(value)
    return found


def _read_env(text: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            raise ConfigError(f"line {number} is not NAME=value")
        words = shlex.split(match["value"])
        found[match["name"].lower()] = " ".join(words)
    return found


_SIMPLE = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\\": "\\\\"}


def _property(text: str, *, key: bool = False) -> str:
    made = "".join(_SIMPLE.get(char, char) for char in text)
    if key:
        return re.sub(r"([ :=#!])", r"\\\1", made)
    return f"\\{made}" if made[:1] == " " else made  # tabs and form feeds are escaped above


def _read_properties(text: str) -> dict[str, str]:
    found = {}
    joined = re.sub(r"(?<!\\)((?:\\\\)*)\\\n[ \t]*", r"\1", text)
    for line in re.split(r"\r\n|\r|\n", joined):
        line = line.lstrip(" \t\f")  # noqa: PLW2901
        if not line or line[0] in "#!":
            continue
        match = re.match(r"((?:\\.|[^\\:= \t\f])+)[ \t\f]*[:=]?[ \t\f]*(.*)", line, re.DOTALL)
        if match is None:
            continue
        found[_unescaped(match[1]).replace(".", "/")] = _unescaped(match[2])
    return found


def _unescaped(text: str) -> str:
    back = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}

    def one(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else back.get(match[2], match[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text)
