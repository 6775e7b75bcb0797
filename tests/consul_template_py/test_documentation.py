"""docs/consul-template.md is true: its templates give what it says, its configuration is read, it names all functions, flags and keys."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from consul_template_py.config import Config, load
from consul_template_py.daemon import command
from consul_template_py.evaluation import Evaluation
from consul_template_py.functions.pure import HELPERS
from consul_template_py.functions.queries import Queries
from consul_template_py.gotemplate.convert import convert
from consul_template_py.gotemplate.engine import GoEngine
from consul_template_py.jinja.engine import Engine
from consul_template_py.query import KeyQuery
from tests.consul_template_py.test_functions import full_world

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "consul-template.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: syntax=(\w+))?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def examples() -> list[tuple[str, str, str, str]]:
    """Each template with the text that follows it."""
    found = []
    for at, (language, syntax, source) in enumerate(BLOCKS):
        if language in ("jinja", "ctmpl"):
            text = next(body for kind, _, body in BLOCKS[at:] if kind == "text")
            found.append((language, syntax or "none", source, text))
    return found


@pytest.mark.parametrize(("language", "syntax", "source", "text"), examples())
def test_an_example_gives_what_the_page_says(language: str, syntax: str, source: str, text: str) -> None:
    known = full_world()
    known[KeyQuery("quoted")] = 'say "hi"'
    engine: Any = GoEngine({}) if language == "ctmpl" else Engine({})
    assert engine.compile(source, "t", syntax=syntax).evaluate(Evaluation(known)).rstrip("\n") == text.rstrip("\n")


def test_the_conversion_is_what_convert_writes() -> None:
    go, jinja = (next(body for kind, _, body in BLOCKS if kind == wanted) for wanted in ("ctmpl", "jinja"))
    assert convert(go, "t") == jinja


def configuration() -> str:
    return next(body for kind, _, body in BLOCKS if kind == "toml")


def test_the_configuration_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(configuration())
    config = load([tmp_path / "c.toml"], {}, {})
    assert len(config.template) == 2


def test_the_defaults_are_those_of_the_page() -> None:
    shown = tomllib.loads(configuration())
    for name in ("template", "target", "exec", "state_dir"):
        shown.pop(name)
    shown["guard"].pop("rules")
    default, given = Config(), Config.model_validate(shown)
    assert given == default


def test_every_key_is_on_the_page() -> None:
    page = configuration() + PAGE
    missing = [name for name in _keys(Config) if not re.search(rf"\b{name}\b", page)]
    assert missing == []


def _keys(model: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(name)
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= _keys(part)
    return found


def test_every_function_and_flag_is_on_the_page() -> None:
    functions = [*HELPERS, *(name for name in vars(Queries) if not name.startswith("_"))]
    assert [name for name in functions if name != "loop" and not re.search(rf"\b{name}\b", PAGE)] == []
    flags = {
        option
        for parameter in command.params
        for option in parameter.opts
        if not option.startswith("--") and option not in ("-h", "-help")
    }
    assert [flag for flag in sorted(flags) if not re.search(rf"`{flag}\b", PAGE)] == []
    assert "convert" in json.dumps(list(command.commands))  # type: ignore[attr-defined]
