"""Hostile values against each syntax, judged by readers of those syntaxes that are not ours where there is one."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consul_template_py.escape import BARE, SYNTAXES, UNKNOWN, RefusedValueError
from consul_template_py.evaluation import Evaluation
from consul_template_py.jinja.engine import Engine
from consul_template_py.query import ServiceQuery, ServicesQuery, ServiceSummary
from consul_template_py.query.kv import KeyQuery
from consul_template_py.query.services import ServiceName

HOSTILE = [
    "a;b",
    "a{",
    "}b",
    "a b",
    'a"b',
    "a'b",
    "a\nb",
    "a\rb",
    "a\0b",
    "a\\b",
    "$host",
    "#x",
    "a\u2028b",
    "\x1b[1m",
    "%[env(X)]",
]


class Values(dict):
    def get(self, query):
        return (True, self[query]) if query in self else (False, None)


def render(template: str, value: str, syntax: str) -> str:
    compiled = Engine({}).compile(template, "t", syntax=syntax)
    return compiled.evaluate(Evaluation(Values({KeyQuery("v"): value})))


@pytest.mark.parametrize("value", [*HOSTILE, "a;b{c}"])
@pytest.mark.parametrize("syntax", ["nginx", "haproxy"])
def test_a_value_that_would_break_out_of_a_word_is_refused(value: str, syntax: str) -> None:
    if (syntax, value) == ("nginx", "%[env(X)]"):
        assert render("x {{ key('v') }};", value, syntax) == "x %[env(X)];"  # means nothing to nginx
        return
    with pytest.raises(RefusedValueError):
        render("x {{ key('v') }};", value, syntax)


@pytest.mark.parametrize("value", ["10.0.0.1", "web-1.example.com", "a_b/c:80", "[::1]", "größe", "a,b=c", ""])
@pytest.mark.parametrize("syntax", ["none", "nginx", "haproxy"])
def test_well_behaved_values_pass_unchanged(value: str, syntax: str) -> None:
    assert render("x {{ key('v') }} y", value, syntax) == f"x {value} y"


@pytest.mark.parametrize(
    ("syntax", "template", "value", "expected"),
    [
        ("nginx", 'x "{{ key("v") }}";', 'a"b\\;{}', 'x "a\\"b\\\\;{}";'),
        ("nginx", "x '{{ key(\"v\") }}';", "it's", "x 'it\\'s';"),
        ("nginx", "# {{ key('v') }}\n", "a;{}\"'$", "# a;{}\"'$\n"),
        ("nginx", "x {{ key('v') | quote }};", "a b", 'x "a b";'),
        ("haproxy", 'x "{{ key("v") }}"', '$HOME"\\', 'x "\\$HOME\\"\\\\"'),
        ("haproxy", "x '{{ key(\"v\") }}'", '$a "b"', "x '$a \"b\"'"),
        ("json", '{"a": "{{ key("v") }}"}', 'x", "admin": "1\n', '{"a": "x\\", \\"admin\\": \\"1\\n"}'),
        ("json", '{"a": {{ key("v") }}}', '1, "admin": true', '{"a": "1, \\"admin\\": true"}'),
        ("json", '{"a": {{ key("v") }}}', "80", '{"a": 80}'),
        ("json", "{{ parse_json(key('v')) | to_json }}", '{"a": [1, null]}', '{"a":[1,null]}'),
        ("yaml", 'a: "{{ key("v") }}"', 'x"\nb: 1', 'a: "x\\"\\x0ab: 1"'),
        ("yaml", "a: '{{ key(\"v\") }}'", "it's: #1", "a: 'it''s: #1'"),
        ("yaml", "a: {{ key('v') }}", "plain text 1.2", "a: plain text 1.2"),
        (
            "yaml",
            "a: |\n  don't {{ key('v') }}\nb: 1",
            "{any: 'thing'} # here",
            "a: |\n  don't {any: 'thing'} # here\nb: 1",
        ),
        ("shell", "x={{ key('v') }}", "a b;rm", "x='a b;rm'"),
        ("shell", 'x="{{ key("v") }}"', '$(rm) `x` "', 'x="\\$(rm) \\`x\\` \\""'),
        ("shell", "x='{{ key(\"v\") }}'", "it's", "x='it'\\''s'"),
    ],
)
def test_a_value_is_escaped_for_its_place(syntax: str, template: str, value: str, expected: str) -> None:
    assert render(template, value, syntax) == expected


@pytest.mark.parametrize(
    ("syntax", "template", "value"),
    [
        ("nginx", 'x "{{ key("v") }}";', "$request_body"),
        ("nginx", 'x "{{ key("v") }}";', "a\nb"),
        ("nginx", "# {{ key('v') }}\n", "a\n}"),
        ("haproxy", "x '{{ key(\"v\") }}'", "it's"),
        ("haproxy", 'x "{{ key("v") }}"', "%[env(SECRET)]"),
        ("yaml", "a: {{ key('v') }}", "x: y"),
        ("yaml", "a: {{ key('v') }}", "x #y"),
        ("yaml", "a: {{ key('v') }}", "x\nb: 1"),
        ("yaml", "a: |\n  {{ key('v') }}\n", "x\nb: 1"),
        ("shell", "# {{ key('v') }}\n", "x\nrm"),
        ("shell", "cat <<EOF\n{{ key('v') }}\nEOF", "$(rm)"),
        ("shell", 'echo "$(echo {{ key("v") }})"', "a b"),
        ("nginx", "{% if key('v') %}a{% endif %}\"x {{ key('v') }} y\";", "a b"),
    ],
)
def test_a_value_that_has_no_escape_in_its_place_is_refused(syntax: str, template: str, value: str) -> None:
    with pytest.raises(RefusedValueError):
        render(template, value, syntax)


def test_a_refused_value_takes_its_round_out_and_is_reported() -> None:
    values = Values(
        {
            ServicesQuery(): tuple(ServiceSummary(ServiceName(name), ()) for name in ("a", "b;evil", "c")),
            ServiceQuery("a"): (),
            ServiceQuery("b;evil"): (),
            ServiceQuery("c"): (),
        }
    )
    template = "{% for s in services() %}server {{ s.name }}{{ service(s.name) | length }};\n{% endfor %}"
    evaluation = Evaluation(values)
    assert Engine({}).compile(template, "t", syntax="nginx").evaluate(evaluation) == "server a0;\nserver c0;\n"
    assert [refusal.value for refusal in evaluation.incremental.refusals] == ["b;evil"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% macro m(x) %}server {{ x }};{% endmacro %}{{ m(key('v')) }}", "server ok;"),
        ("{% set b %}server {{ key('v') }};{% endset %}{{ b }}", "server ok;"),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}a;{% endcall %}", "[a;]"),
        ("{{ 'a;b' | safe }}", "a;b"),
    ],
)
def test_text_that_the_template_itself_made_is_not_escaped_again(template: str, expected: str) -> None:
    assert render(template, "ok", "nginx") == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% macro m(x) %}{{ x }};{% endmacro %}{{ m('a') ~ key('v') }}",
        "{% set b %}x;{% endset %}{{ b ~ key('v') }}",
        "{% set b %}%s;{% endset %}{{ b.format(key('v')) }}",
        "{% set b %}{}{% endset %}{{ b.format(key('v')) }}",
        "{{ key('v') | e }}",
        "{{ [key('v')] | join(',') }}",
        "{{ key('v') | tojson }}",
    ],
)
def test_no_operation_launders_a_hostile_value(template: str) -> None:
    with pytest.raises(RefusedValueError):
        render(template, "a;evil {", "nginx")


def test_an_unknown_place_takes_only_harmless_values() -> None:
    for syntax in SYNTAXES.values():
        if syntax.name != "none":
            assert syntax.escape(UNKNOWN, "web-1.a/b:80") == "web-1.a/b:80"
            with pytest.raises(RefusedValueError):
                syntax.escape(UNKNOWN, "a b")


ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(HOSTILE)


@given(ANY_TEXT)
def test_json_is_always_json_and_the_value_comes_back(value: str) -> None:
    found = json.loads(render('{"a": "{{ key("v") }}", "b": {{ key("v") | quote }}, "c": 1}', value, "json"))
    assert found == {"a": value, "b": value, "c": 1}


@given(ANY_TEXT)
def test_json_outside_of_a_string_is_one_value(value: str) -> None:
    found = json.loads(render('{"a": {{ key("v") }}, "c": 1}', value, "json"))
    assert list(found) == ["a", "c"] and not isinstance(found["a"], dict | list)


@given(
    ANY_TEXT,
    st.sampled_from(['a: "{}"\nc: 1\n', "a: '{}'\nc: 1\n", "a: {}\nc: 1\n", "a: |\n  {}\nc: 1\n", "- {}\n- c\n"]),
)
def test_yaml_never_changes_its_shape(value: str, frame: str) -> None:
    template = frame.replace("{}", "{{ key('v') }}") if '"' in frame else frame.replace("{}", '{{ key("v") }}')
    try:
        text = render(template, value, "yaml")
    except RefusedValueError:
        return
    found = yaml.safe_load(text)
    if isinstance(found, list):
        assert len(found) == 2 and found[1] == "c" and not isinstance(found[0], dict | list)
    else:
        assert list(found) == ["a", "c"] and found["c"] == 1 and not isinstance(found["a"], dict | list)
    if '"' in frame:
        assert found["a"] == value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_TEXT, st.sampled_from(["{}", '"{}"', "'{}'", "x{}y", '"a {} b"']))
def test_the_shell_sees_one_word_with_the_value_in_it(value: str, frame: str) -> None:
    expression = "{{ key('v') }}" if '"' in frame else '{{ key("v") }}'
    try:
        script = render(f"printf '[%s]' {frame.replace('{}', expression)}", value, "shell")
    except RefusedValueError:
        assert "\0" in value
        return
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == f"[{frame.strip(chr(34) + chr(39)).replace('{}', value)}]"


@given(ANY_TEXT, st.sampled_from(['x "{}" y', "x '{}' y", "x {} y", "x {}{} y", "x{}y z"]))
def test_nginx_reads_as_many_words_as_the_template_has(value: str, frame: str) -> None:
    expression = "{{ key('v') }}" if '"' in frame else '{{ key("v") }}'
    try:
        text = render(frame.replace("{}", expression), value, "nginx")
    except RefusedValueError:
        return
    words = _nginx_words(text)
    assert len(words) == len(frame.split()) - (value == "" and frame in ("x {} y", "x {}{} y"))
    if '"' in frame or "'" in frame:
        assert words[1] == value


def _nginx_words(text: str) -> list[str]:
    """nginx's tokens, after ngx_conf_read_token."""
    words, word, quote, i = [], None, "", 0
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\" and text[i + 1 : i + 2] in ('"', "'", "\\"):
                i += 1
                word = (word or "") + text[i]
            elif char == quote:
                words.append(word or "")
                word, quote = None, ""
            else:
                word = (word or "") + char
        elif char in " \t\r\n":
            if word is not None:
                words.append(word)
            word = None
        else:
            assert char not in ";{}", "a value ended a statement"
            if word is None and char in "\"'":
                quote, word = char, ""
            else:
                assert not (word is None and char == "#"), "a value began a comment"
                word = (word or "") + char
        i += 1
    assert not quote, "a value opened a quote"
    return [*words, word] if word is not None else words


def test_nginx_itself_accepts_what_we_escape_and_refuse(tmp_path: Path) -> None:
    """Every hostile value, in quotes or refused: the real nginx still reads one directive for each."""
    nginx = shutil.which("nginx")
    assert nginx
    lines = []
    for value in HOSTILE:
        for frame in ('add_header X-A "{{ key("v") }}";', "add_header X-A {{ key('v') }};"):
            try:
                lines.append(render(frame, value, "nginx"))
            except RefusedValueError:
                continue
    (tmp_path / "n.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ server {{ listen unix:{tmp_path}/s;\n"
        + "\n".join(lines)
        + "\n} }"
    )
    done = subprocess.run(
        [nginx, "-t", "-q", "-c", str(tmp_path / "n.conf"), "-p", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(lines) > 5


@given(st.text(max_size=60), st.text(max_size=60))
def test_places_do_not_depend_on_how_literal_text_is_cut(one: str, two: str) -> None:
    for name, syntax in SYNTAXES.items():
        if not any(
            (one + two)[len(one) - 1 : len(one) + 1].startswith(pair[:1]) for pair in ("\\", "$", "<", "'", "`")
        ):
            whole = syntax.advance(BARE, one + two)
            assert syntax.advance(syntax.advance(BARE, one), two) == whole, name
