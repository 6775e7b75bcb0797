"""Incremental evaluation gives what a full one gives, and runs only what has changed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from consul_template_py.errors import TemplateError
from consul_template_py.evaluation import Evaluation
from consul_template_py.jinja.engine import Engine, JinjaTemplate
from consul_template_py.query import KeyQuery, ServicesQuery, ServiceSummary, TreeQuery
from consul_template_py.query.kv import KeyPair
from consul_template_py.query.services import ServiceName


class World(dict[Any, Any]):
    """Values of queries; what is not there has not been received."""

    def get(self, query: Any) -> tuple[bool, Any]:  # type: ignore[override]
        return (True, self[query]) if query in self else (False, None)


class Watching:
    """A template and the world it reads, told of each change as the runner would tell it."""

    def __init__(self, source: str, **compile: Any) -> None:
        self.world = World()
        self.template: JinjaTemplate = Engine({"HOME": "/home"}).compile(source, "t", **compile)
        self.evaluation = Evaluation(self.world)

    def set(self, query: Any, value: Any) -> None:
        if query not in self.world or self.world[query] != value:
            self.world[query] = value
            self.evaluation.incremental.invalidate(query)

    def text(self) -> str:
        return self.template.evaluate(self.evaluation)

    def fresh_text(self) -> str:
        return self.template.evaluate(Evaluation(self.world))

    def rounds(self) -> int:
        before = self.evaluation.incremental.rounds_run
        self.text()
        return self.evaluation.incremental.rounds_run - before


def summaries(*names: str) -> tuple[ServiceSummary, ...]:
    return tuple(ServiceSummary(ServiceName(name), (f"tag-{name}",)) for name in names)


def many(count: int, template: str) -> Watching:
    watching = Watching(template)
    names = [f"s{number}" for number in range(count)]
    watching.set(ServicesQuery(), summaries(*names))
    for name in names:
        watching.set(KeyQuery(name), f"value of {name}")
    return watching


LOOP = "{% for s in services() %}{{ s.name }}={{ key(s.name) }}\n{% endfor %}"


@pytest.mark.parametrize("count", [10, 1000])
def test_one_change_runs_the_template_and_one_round_however_many_there_are(count: int) -> None:
    watching = many(count, LOOP)
    assert watching.rounds() == count + 1
    watching.set(KeyQuery("s7"), "new")
    assert watching.rounds() == 2
    assert "s7=new\n" in watching.text()


def test_a_new_service_runs_one_round_and_an_ended_one_none() -> None:
    watching = many(100, LOOP)
    watching.text()
    names = [f"s{number}" for number in range(100)]
    watching.set(KeyQuery("a0"), "a")
    watching.set(ServicesQuery(), summaries("a0", *names))
    assert watching.rounds() == 2
    watching.set(ServicesQuery(), summaries(*names[1:]))
    assert watching.rounds() == 1
    assert watching.text() == watching.fresh_text()


def test_what_nobody_reads_any_more_is_said() -> None:
    watching = many(3, LOOP)
    watching.text()
    incremental = watching.evaluation.incremental
    assert incremental.take_news() == {
        ServicesQuery(): True,
        **{KeyQuery(name): True for name in ("s0", "s1", "s2")},
    }
    watching.set(ServicesQuery(), summaries("s0", "s9"))
    watching.text()
    assert incremental.take_news() == {KeyQuery("s1"): False, KeyQuery("s2"): False, KeyQuery("s9"): True}
    assert incremental.missing == {KeyQuery("s9")}


def test_missing_data_of_a_service_that_has_gone_is_not_waited_for() -> None:
    watching = Watching(LOOP)
    watching.set(ServicesQuery(), summaries("a", "b"))
    watching.set(KeyQuery("a"), "1")
    watching.text()
    assert watching.evaluation.incremental.missing == {KeyQuery("b")}
    watching.set(ServicesQuery(), summaries("a"))
    watching.text()
    assert watching.evaluation.incremental.missing == set()


def test_an_error_with_data_missing_is_not_an_error_yet() -> None:
    watching = Watching("{{ services()[0].name.upper() }}", strict=True)
    watching.text()
    assert watching.evaluation.incremental.missing == {ServicesQuery()}
    watching.set(ServicesQuery(), ())
    with pytest.raises(TemplateError):
        watching.text()
    watching.set(ServicesQuery(), summaries("a"))
    assert watching.text() == "A"


def test_a_round_that_failed_runs_again() -> None:
    watching = Watching("{% for s in services() %}{{ 10 / (key(s.name) | int) }} {% endfor %}")
    watching.set(ServicesQuery(), summaries("a", "b", "c"))
    for name in "abc":
        watching.set(KeyQuery(name), "5")
    assert watching.text() == "2.0 2.0 2.0 "
    watching.set(KeyQuery("b"), "0")
    for _ in range(2):
        with pytest.raises(TemplateError, match="t:1: division by zero"):
            watching.text()
    watching.set(KeyQuery("c"), "1")
    watching.set(KeyQuery("b"), "2")
    assert watching.text() == "2.0 5.0 10.0 "


# Each of these is evaluated incrementally over a history of changes, and compared with a full evaluation after each of them.
TEMPLATES = [
    LOOP,
    "{% for s in services() %}{{ key(s.name) }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for s in services() %}{{ loop.index }}/{{ loop.length }}{{ key('a') }}{% else %}none{{ key('b') }}{% endfor %}",
    "{% set x = key('a') %}{% for s in services() %}{{ x }}{{ key(s.name) }}{% endfor %}",
    "{% for s in services() %}{% set y = key(s.name) %}{% for t in s.tags %}{{ y }}{{ t }}{{ key(x) }}{% endfor %}{% endfor %}".replace(
        "key(x)", "key(t[-1])"
    ),
    "{% macro m(n) %}<{{ key(n) }}{{ x }}>{% endmacro %}{% set x = key('b') %}{% for s in services() %}{{ m(s.name) }}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for s in services() %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ key(s.name) }}{% endfor %}",
    "{% for s in services() %}{{ scratch.set(s.name, key(s.name)) }}{{ scratch.get('a') }}{% endfor %}{{ scratch.get('b') }}",
    "{% for s in services() if key(s.name) != '1' %}{{ s.name }}{% endfor %}",
    "{% for p in tree('p') %}{{ p.key }}={{ p.value }}{% for s in services() %}{{ key(s.name) }}{{ p.key }}{% endfor %};{% endfor %}",
    "{% for name, pair in (tree('p') | by_key).items() %}{{ name }}{% for k in pair %}{{ k }}{% endfor %}{% endfor %}",
    "{% for s in services() | sort(attribute='name', reverse=true) %}{{ s.name }}{{ key(s.name) }}{% endfor %}",
    "{% for n in [1, true, 1.0, 'a', 1] %}{{ n }}{{ key('a') }} {% endfor %}",
    "{% for v in parse_json(key_or_default('j', '[1]')) %}{{ v }}{{ key('a') }} {% endfor %}",
    "{% macro each() %}{% for s in services() %}{{ caller(s.name) }}{% endfor %}{% endmacro %}"
    "{% call(n) each() %}{{ n }}{{ key(n) }}{% endcall %}{% call(n) each() %}{{ key(n) }}-{% endcall %}",
    "{% filter upper %}{% for s in services() %}{{ key(s.name) }}x{% endfor %}{% endfilter %}",
    "{% set all %}{% for s in services() %}{{ key(s.name) }}{% endfor %}{% endset %}{{ all | length }}{{ all }}",
    "{% if key('a') == '1' %}{% for s in services() %}{{ key(s.name) }}{% endfor %}{% else %}{{ key('b') }}{% endif %}",
    "{% for s in services() %}{% if key('a') == '1' %}{{ key(s.name) }}{% elif s.name == 'b' %}{{ key('c') }}{% endif %}{% endfor %}",
    "{% with q = key('a') %}{% for s in services() %}{% for t in services() %}{{ key(t.name) }}{{ q }}{% endfor %};{% endfor %}"
    "{% endwith %}",
]
NAMES = ["a", "b", "c", "d"]
VALUES = st.sampled_from(["0", "1", "2", "x"])
CHANGES = st.one_of(
    st.tuples(st.just("key"), st.sampled_from(NAMES), VALUES),
    st.tuples(st.just("services"), st.lists(st.sampled_from(NAMES), max_size=5, unique=True), st.none()),
    st.tuples(st.just("tree"), st.lists(st.sampled_from(["x", "y/1", "y/2"]), max_size=3, unique=True), VALUES),
    st.tuples(
        st.just("json"), st.sampled_from(["[]", "[1, true]", "[true, 1]", '[{"a": 1}, [2]]', '["1"]']), st.none()
    ),
)


def apply_change(watching: Watching, change: tuple[str, Any, Any]) -> None:
    kind, what, value = change
    if kind == "key":
        watching.set(KeyQuery(what), value)
    elif kind == "services":
        watching.set(ServicesQuery(), summaries(*sorted(what)))
    elif kind == "tree":
        watching.set(TreeQuery("p"), tuple(KeyPair(f"p/{k}", k, value, 1, 1, 0, 0, "") for k in sorted(what)))
    else:
        watching.set(KeyQuery("j"), what)


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=12))
def test_it_gives_what_a_full_evaluation_gives(template: str, changes: list[tuple[str, Any, Any]]) -> None:
    watching = Watching(template)
    for name in NAMES:
        watching.set(KeyQuery(name), "0")
    watching.set(ServicesQuery(), summaries("a", "b"))
    watching.set(TreeQuery("p"), ())
    watching.set(KeyQuery("j"), "[1]")
    watching.text()
    for change in changes:
        apply_change(watching, change)
        assert watching.text() == watching.fresh_text()
        incremental = watching.evaluation.incremental
        assert not incremental.missing
        fresh = Evaluation(watching.world)
        watching.template.evaluate(fresh)
        assert set(incremental.readers) == set(fresh.incremental.readers)


@pytest.mark.parametrize(
    "template",
    [
        "{% for n in items %}{{ loop.index }}{{ n }}{% endfor %}",
        "{% for n in items %}{{ n }}{% else %}none{% endfor %}",
        "{% for n in items if n != 'b' %}{{ n }}{% endfor %}",
        "{% for n in items %}{% for m in items %}{{ n }}{{ m }}{{ loop.last }}{% endfor %}{{ loop.first }}{% endfor %}",
        "{% for n in items %}{% set x = n %}{% endfor %}{{ x }}",
        "{% set x = 1 %}{% for n in items %}{% set x = n %}{{ x }}{% endfor %}{{ x }}",
        "{% for n in items %}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% for n in items %}{% if loop.changed(n) %}{{ n }}{% endif %}{% endfor %}",
        "{% for n in items recursive %}{{ n }}{% if loop.depth < 3 %}{{ loop(['x']) }}{% endif %}{% endfor %}",
        "{% for a, b in pairs %}{{ a }}:{{ b }} {% endfor %}",
        "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
        "{% macro m(items) %}{% for n in items %}{{ n }}{% endfor %}{% endmacro %}{{ m(['q']) }}{{ m(items) }}",
        "{% for n in items %}{% macro m() %}[{{ n }}]{% endmacro %}{{ m() }}{% endfor %}",
        "{% for n in items %}{% if n == 'b' %}{% else %}{{ n }}{% endif %}{% endfor %}",
        "{% for k in {'x': 1} %}{{ k }}{% endfor %}{% for n in nothing %}x{% endfor %}",
        "{% block one %}{% for n in items %}{{ n }}{% endfor %}{% endblock %}{{ self.one() }}",
    ],
)
def test_loops_mean_what_they_mean_to_jinja2(template: str) -> None:
    given = "{% set items = ['a', 'b', 'b', 'c'] %}{% set pairs = {'a': 1, 'b': 2}.items() %}"
    if "block" in template:
        given, template = "", template.replace("items", "['a', 'b']")
    expected = ImmutableSandboxedEnvironment(keep_trailing_newline=True).from_string(given + template).render()
    assert Watching(given + template).text() == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ services.__globals__ }}",
        "{{ (services()[0]).__class__.__init__.__globals__ }}",
        "{{ __loop.__globals__ }}",
        "{{ scratch._values }}{{ scratch._current }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(services()[0]) }}",
        "{% set x = [] %}{{ x.append(1) }}",
    ],
)
def test_templates_cannot_reach_out_of_the_sandbox(template: str) -> None:
    watching = Watching(template)
    watching.set(ServicesQuery(), summaries("a"))
    try:
        assert watching.text() == ""
    except TemplateError as error:
        assert "unsafe" in str(error) or "not safely" in str(error)
