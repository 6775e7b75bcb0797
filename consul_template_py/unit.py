"""One template on its way to one file: compiled, evaluated when something that it reads has changed, isolated from all others.

What goes wrong with a unit is kept in the unit, to be shown; its last good text stays what is wanted.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consul_template_py.config import Config, TemplateConfig
from consul_template_py.deduplicate import template_hash
from consul_template_py.errors import ConfigError, TemplateError
from consul_template_py.escape import SYNTAXES, RefusedValueError
from consul_template_py.evaluation import Evaluation, Template, Values
from consul_template_py.files import Ownership, WantedFile, read_if_there
from consul_template_py.gotemplate.engine import GoEngine
from consul_template_py.jinja.engine import Engine
from consul_template_py.query import Query
from consul_template_py.query.vault import Secret
from consul_template_py.quiescence import Burst, Wait
from daemonkit.logs import MASK, get_logger

log = get_logger(__name__)
MOST_TEMPLATE_BYTES = 16 * 1024 * 1024

_DECLARED = re.compile(r"\A\s*(?:\{#-?|\{\{-?\s*/\*)[^\n]*?\bsyntax:\s*(?P<syntax>\w+)")


_QUOTED = re.compile(r"""['"`].*['"`]""", re.DOTALL)


@dataclass(slots=True)
class UnitState:
    """Times are epoch seconds, 0 for never."""

    error: str = ""  # why the last evaluation, or the compilation, failed
    evaluated_at: float = 0.0
    good_at: float = 0.0  # the last time that it gave a text
    changed_at: float = 0.0  # the last time that it gave another text
    evaluations: int = 0
    seconds: float = 0.0  # how long the last one took


@dataclass(eq=False)
class Unit:
    config: TemplateConfig
    name: str
    destination: Path
    syntax: str
    wait: Wait
    evaluation: Evaluation
    key: str  # a hash of all that decides what it gives from the same data
    template: Template | None = None
    state: UnitState = field(default_factory=UnitState)
    burst: Burst | None = None  # changes that it has not been evaluated for
    wanted: WantedFile = field(init=False)
    _text: str | None = None

    def __post_init__(self) -> None:
        """What an earlier run has left is the last good text, until there is a newer one."""
        where = f"template {self.name}"
        self._ownership = Ownership.of(self.config.perms, self.config.user, self.config.group, where=where)
        try:
            left = read_if_there(self.destination)
        except OSError as error:
            raise ConfigError(f"{where}: {self.destination} cannot be read: {error.strerror}") from None
        self.wanted = self._file(left)

    @property
    def rendered(self) -> bool:
        return self._text is not None

    @property
    def waiting_for(self) -> set[Query[Any]]:
        return self.evaluation.incremental.missing

    def evaluate(self) -> bool:
        """Evaluates once. True if the text is complete and another one than before."""
        if self.template is None:
            return False
        state = self.state
        state.evaluated_at, started = time.time(), time.perf_counter()
        state.evaluations += 1
        try:
            text = self.template.evaluate(self.evaluation)
        except (TemplateError, RefusedValueError) as error:
            self._failed(self._why(error))
            return False
        finally:
            state.seconds = time.perf_counter() - started
        if self.waiting_for:
            return False
        if state.error:
            log.info("template is well again", template=self.name)
        return self._take(text)

    def adopt(self, text: str) -> bool:
        """Takes a text that another process has rendered from the same template. True if it is another one than before."""
        self.state.evaluated_at = time.time()
        return self._take(text)

    @property
    def text(self) -> str | None:
        return self._text

    def _take(self, text: str) -> bool:
        state = self.state
        state.error, state.good_at = "", state.evaluated_at
        if text == self._text:
            return False
        self._text, state.changed_at = text, state.evaluated_at
        self.wanted = self._file(text.encode("utf-8", "surrogateescape"))
        return True

    @property
    def reads_secrets(self) -> bool:
        return any(query.source == "vault" for query in self.evaluation.incremental.readers)

    def _why(self, error: TemplateError | RefusedValueError) -> str:
        if isinstance(error, TemplateError):
            return self._without_secrets(str(error))
        return f"{self.name}: {MASK + ': ' + error.why if self.reads_secrets else error}"

    def _without_secrets(self, said: str) -> str:
        """Errors quote the value that they are about, which may be a secret, or made from one."""
        if not self.reads_secrets:
            return said
        said = said.removeprefix(self.name)
        for secret in sorted(set(self._secret_texts()), key=len, reverse=True):
            said = said.replace(secret, MASK)
        return self.name + _QUOTED.sub(MASK, said)

    def _secret_texts(self) -> Iterator[str]:
        for query in self.evaluation.incremental.readers:
            if query.source == "vault":
                yield from _texts(self.evaluation.values.get(query)[1])

    def _failed(self, error: str) -> None:
        if error != self.state.error:
            log.error("template failed, its last good output stays", template=self.name, error=error)
        self.state.error = error

    def _file(self, content: bytes | None) -> WantedFile:
        return WantedFile.of(
            self.destination,
            content,
            self._ownership,
            backup=self.config.backup,
            create_folders=self.config.create_dest_dirs,
        )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield from _texts(value.data)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and value:
        yield value


class Engines:
    """A compiler for each template language."""

    def __init__(self, environment: Mapping[str, str], *, folders: Sequence[Path] = ()) -> None:
        self.jinja = Engine(environment, folders=folders)
        self.go = GoEngine(environment)


def _is_go(config: TemplateConfig, source: Path | None) -> bool:
    """Go's, by what is declared, or by the suffixes that consul-template's users give their templates."""
    if config.language != "auto":
        return config.language == "go"
    return source is not None and source.suffix in (".ctmpl", ".tpl", ".tmpl")


def make_units(config: Config, engines: Engines, values: Values) -> list[Unit]:
    """Units in the configuration's order; a folder gives one for each template in it. Raises ConfigError."""
    units: list[Unit] = []
    for template in config.template:
        if template.source is not None and template.source.is_dir():
            assert template.destination is not None
            for source in sorted(path for path in template.source.rglob("*") if path.is_file()):
                relative = source.relative_to(template.source)
                if relative.suffix in _SUFFIXES:
                    relative = relative.with_suffix("")
                units.append(_make(template, source, template.destination / relative, config, engines, values))
        else:
            assert template.destination is not None
            units.append(_make(template, template.source, template.destination, config, engines, values))
    taken: dict[Path, str] = {}
    for unit in units:
        other = taken.setdefault(unit.destination.absolute(), unit.name)
        if other != unit.name:
            raise ConfigError(f"templates {other} and {unit.name} both write {unit.destination}")
    return units


_SUFFIXES = {".ctmpl", ".tpl", ".tmpl", ".j2", ".jinja", ".jinja2"}


def _make(
    config: TemplateConfig, source: Path | None, destination: Path, all_config: Config, engines: Engines, values: Values
) -> Unit:
    name = str(source) if source else f"contents for {destination}"
    text, error = _source_text(config, source)
    declared = _DECLARED.match(text)
    syntax = config.syntax or (declared["syntax"] if declared else all_config.syntax)
    wait = all_config.wait if config.wait is None else config.wait
    key = template_hash(text, syntax, config.error_on_missing_key, config.left_delimiter, config.right_delimiter)
    unit = Unit(config, name, destination, syntax, wait, Evaluation(values), key)
    if not error and syntax not in SYNTAXES:
        error = f"{name}: syntax {syntax!r} is none of {', '.join(SYNTAXES)}"
    if not error:
        folder = source.parent if source else None
        strict = config.error_on_missing_key
        try:
            if _is_go(config, source):
                left, right = config.left_delimiter, config.right_delimiter
                unit.template = engines.go.compile(text, name, syntax=syntax, strict=strict, left=left, right=right)
            else:
                unit.template = engines.jinja.compile(text, name, syntax=syntax, strict=strict, folder=folder)
        except TemplateError as problem:
            error = str(problem)
    if error:
        unit.state.error = error
        log.error("template cannot be used, its last good output stays", template=name, error=error)
    return unit


def _source_text(config: TemplateConfig, source: Path | None) -> tuple[str, str]:
    """The template's text, or why there is none."""
    if source is None:
        return config.contents or "", ""
    try:
        if source.stat().st_size > MOST_TEMPLATE_BYTES:
            return "", f"{source} is larger than {MOST_TEMPLATE_BYTES} bytes"
        return source.read_text("utf-8", "surrogateescape"), ""
    except OSError as error:
        return "", f"{source} cannot be read: {error.strerror}"
