"""Compiles Jinja2 templates in a sandbox: no access to Python's internals, no changing of values, bounded ranges."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import FileSystemLoader, StrictUndefined, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context as JinjaContext
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from consul_template_py.errors import TemplateError
from consul_template_py.escape import BARE, SYNTAXES, RefusedValueError, Syntax
from consul_template_py.escape.text import Formatted, Rendered
from consul_template_py.evaluation import Current, Evaluation
from consul_template_py.functions.pure import HELPERS
from consul_template_py.functions.queries import query_functions
from consul_template_py.gotemplate.for_jinja import GoHelpers
from consul_template_py.jinja.rewrite import Names, Rewriter
from consul_template_py.query import CaRoot, Check, KeyPair, Node, NodeService, NodeWithServices
from consul_template_py.query.service import ServiceInstance
from consul_template_py.query.services import ServiceSummary
from daemonkit.errors import OperatorError

_OWN_VALUES = frozenset({CaRoot, Check, KeyPair, Node, NodeService, NodeWithServices, ServiceInstance, ServiceSummary})
_KEPT_FILTERS = frozenset({"join", "trim"})  # Jinja2's own do the same and more


class Engine:
    """`environment`: the variables that templates see. `folders`: where `{% include %}` and `{% import %}` look, after the
    template's own folder."""

    def __init__(self, environment: Mapping[str, str], *, folders: Sequence[Path] = ()) -> None:
        self._current = Current(environment)
        self._folders = tuple(folders)
        self._asking = query_functions(self._current)
        self._made: dict[tuple[str, bool, Path | None], _Environment] = {}

    def compile(
        self, source: str, name: str, *, syntax: str = "none", strict: bool = False, folder: Path | None = None
    ) -> "JinjaTemplate":
        """`strict`: an undefined variable or attribute is an error, not empty text. Raises TemplateError: file, line, why."""
        environment = self._environment(syntax, strict, folder)
        try:
            compiled = environment.from_named_string(source, name)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"{(error.filename or name).strip('<>')}:{error.lineno}: {error.message}") from None
        return JinjaTemplate(name, compiled, self._current)

    def _environment(self, syntax: str, strict: bool, folder: Path | None) -> "_Environment":
        key = (syntax, strict, folder)
        if key not in self._made:
            folders = [*([folder] if folder else []), *self._folders]
            self._made[key] = _Environment(SYNTAXES[syntax], self._current, self._asking, strict, folders)
        return self._made[key]


class JinjaTemplate:
    def __init__(self, name: str, compiled: jinja2.Template, current: Current) -> None:
        self.name = name
        self._compiled = compiled
        self._current = current

    def evaluate(self, evaluation: Evaluation) -> str:
        with self._current.evaluating(evaluation):
            try:
                return evaluation.incremental.evaluate(self._body)
            except RefusedValueError:
                raise
            except OperatorError as error:
                raise TemplateError(f"{self.name}{_line(error, self.name)}: {error}") from None
            except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
                said = getattr(error, "message", None) or str(error) or repr(error)
                raise TemplateError(f"{self.name}{_line(error, self.name)}: {said}") from None
            except RecursionError:
                raise TemplateError(f"{self.name}: nested too deeply") from None

    def _body(self) -> str:
        return "".join(self._compiled.root_render_func(self._compiled.new_context()))


class _Generator(CodeGenerator):
    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802  Jinja2's name
        super().visit_Template(node, frame)
        # Last in the module: these replace what the compiled template imported first.
        self.writeline("from consul_template_py.jinja.runtime import Macro, identity")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator

    def __init__(
        self,
        syntax: Syntax,
        current: Current,
        asking: Mapping[str, Callable[..., Any]],
        strict: bool,
        folders: Sequence[Path],
    ) -> None:
        super().__init__(
            loader=FileSystemLoader([str(folder) for folder in folders]),
            undefined=StrictUndefined if strict else Undefined,
            autoescape=False,
            keep_trailing_newline=True,
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
            cache_size=400,
        )
        self._syntax = syntax
        own: dict[str, Callable[..., Any]] = {**HELPERS, **asking}
        self.globals.update(own)
        self.globals.update({"__loop": _loop(current), "scratch": _ScratchProxy(current), "go": GoHelpers()})
        self.filters.update({name: function for name, function in own.items() if name not in _KEPT_FILTERS})
        self.filters["__out"] = _out(syntax)
        self.filters["quote"] = lambda value: _quoted(syntax, value)
        self.filters["safe"] = self.filters["unescaped"] = lambda value: Rendered(str(value))
        self.filters["random"] = pass_context(_random(current))
        self._names = Names(frozenset(self.globals), frozenset({*asking, "scratch", "random"}))

    def from_named_string(self, source: str, name: str) -> jinja2.Template:
        code = self.compile(source, name, f"<{name}>")
        return self.template_class.from_code(self, code, self.make_globals(None), None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        return Rewriter(self._syntax, self._names, name or "template").rewrite(parsed)

    def getattr(self, obj: Any, attribute: str) -> Any:
        # Most attributes that templates read are of these, which hold nothing that a sandbox would keep back.
        if obj.__class__ in _OWN_VALUES and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        marked = isinstance(getattr(value, "__self__", None), Rendered | Formatted)
        if marked and value.__name__ in ("format", "format_map"):
            # What is formatted in was not escaped: the result is plain text again.
            return super().wrap_str_format(getattr(str(value.__self__), value.__name__))
        return super().wrap_str_format(value)


def _loop(current: Current) -> Callable[..., str | None]:
    def loop(
        site: int, iterable: Any, macro: Macro, free: tuple[Any, ...], unpack: bool, position: tuple[str, ...]
    ) -> str | None:
        incremental = current.now.incremental
        body = macro._func
        if site == 0:
            return incremental.plain_loop(iterable, body, unpack=unpack, position=position)
        return incremental.loop(site, iterable, body, free, unpack=unpack, position=position)

    return loop


def _out(syntax: Syntax) -> Callable[[Any, str, bool], str]:
    escape, name = syntax.escape, syntax.name

    def out(value: Any, place: str, bare: bool) -> str:
        if bare and (value.__class__ is Rendered or (value.__class__ is Formatted and name in value.syntaxes)):
            return str(value)
        if isinstance(value, Undefined):
            value = str(value)  # empty, or an error where undefined values are errors
            if not value:
                return ""
        return escape(place, value)

    return out


def _quoted(syntax: Syntax, value: Any) -> str:
    """`value` as a quoted string of the template's syntax, with its quotes."""
    if syntax.name == "shell":
        return Rendered(syntax.escape(BARE, str(value)))
    return Rendered(f'"{syntax.escape(chr(34), str(value))}"')


def _random(current: Current) -> Callable[[JinjaContext, Sequence[Any]], Any]:
    def pick(context: JinjaContext, items: Sequence[Any]) -> Any:
        current.impure()
        return random.choice(items) if items else context.environment.undefined("No random item, sequence was empty.")

    return pick


class _ScratchProxy:
    """`scratch` in a template: the pad of the evaluation that runs now."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current.scratch, name)


def _line(error: BaseException, name: str) -> str:
    """`:12` for the template's line that an error passed through last."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == f"<{name}>":
            template = trace.tb_frame.f_globals.get("__jinja_template__")
            found = f":{template.get_corresponding_lineno(trace.tb_lineno)}" if template is not None else found
        trace = trace.tb_next
    return found
