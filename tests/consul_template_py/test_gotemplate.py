# ruff: noqa: E501  a table of templates is read by the line
"""Go templates give what Go and consul-template give. Expected texts are from their documentation and their semantics."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_template_py.errors import TemplateError
from consul_template_py.evaluation import Evaluation
from consul_template_py.gotemplate.engine import GoEngine
from consul_template_py.query import (
    Check,
    KeyQuery,
    Node,
    NodeQuery,
    NodesQuery,
    ServiceQuery,
    ServicesQuery,
    TreeQuery,
)
from consul_template_py.query.kv import KeyPair
from consul_template_py.query.nodes import NodeService, NodeWithServices
from consul_template_py.query.service import NO_META, ServiceInstance
from consul_template_py.query.services import ServiceName, ServiceSummary


class World(dict[Any, Any]):
    def get(self, query: Any) -> tuple[bool, Any]:  # type: ignore[override]
        return (True, self[query]) if query in self else (False, None)


def instance(name: str, number: int, **more: Any) -> ServiceInstance:
    check = Check("n1", "c", "check", "passing", "", "", f"{name}-{number}", name)
    values: dict[str, Any] = {
        "id": f"{name}-{number}",
        "name": name,
        "node": "n1",
        "node_id": "",
        "node_address": "10.0.0.1",
        "address": f"10.0.0.{number}",
        "port": 8000 + number,
        "tags": ("prod", "v1"),
        "meta": MappingProxyType({"version": str(number)}),
        "node_meta": NO_META,
        "node_tagged_addresses": NO_META,
        "tagged_addresses": NO_META,
        "datacenter": "dc1",
        "weights": (1, 1),
        "status": "passing",
        "checks": (check,),
    }
    return ServiceInstance(**(values | more))


def pair(prefix: str, key: str, value: str) -> KeyPair:
    return KeyPair(f"{prefix}/{key}", key, value, 1, 1, 0, 0, "")


def world() -> World:
    return World(
        {
            ServicesQuery(): (
                ServiceSummary(ServiceName("api"), ("prod",)),
                ServiceSummary(ServiceName("web"), ("prod", "v1")),
            ),
            ServiceQuery("web"): (instance("web", 1), instance("web", 2, tags=("dev",))),
            ServiceQuery("api"): (instance("api", 3),),
            ServiceQuery("none"): (),
            KeyQuery("k"): "value",
            KeyQuery("n"): "5",
            KeyQuery("absent"): None,
            KeyQuery("json"): '{"a": {"b": [1, 2.5, "x"]}, "big": 8080, "large": 1234567, "t": true, "z": null}',
            TreeQuery("p"): (pair("p", "a/x", "1"), pair("p", "a/y", "2"), pair("p", "b", "3")),
            NodesQuery(): (Node("n1", "id", "10.0.0.1", "dc1", NO_META, NO_META),),
            NodeQuery("n1"): NodeWithServices(
                Node("n1", "id", "10.0.0.1", "dc1", NO_META, NO_META),
                (NodeService("web-1", ServiceName("web"), ("prod",), NO_META, "10.0.0.1", 80),),
            ),
        }
    )


def render(source: str, **compile: Any) -> str:
    template = GoEngine({"HOME": "/root", "EMPTY": ""}).compile(source, "t.ctmpl", **compile)
    return template.evaluate(Evaluation(world()))


LANGUAGE = [
    # text, trimming, comments
    ("plain", "plain"),
    ("a {{- \"b\" -}} c", "abc"),
    ("a {{/* comment */}} b", "a  b"),
    ("a {{- /* comment */ -}} b", "ab"),
    ("a\n  {{- \"x\" }}\n", "ax\n"),
    ("{{ \"{{\" }}", "{{"),
    ("{{`raw \"s\" \\n`}}", 'raw "s" \\n'),
    ('{{ "tab\\tnew\\n\\u00e9\\x41" }}', "tab\tnew\né\x41"),
    ("{{ 'a' }}", "97"),
    # constants and printing
    ("{{ 1 }} {{ -2 }} {{ 1.5 }} {{ 1e3 }} {{ 0x10 }} {{ true }}", "1 -2 1.5 1000 16 true"),
    ("{{ print nil }}", "<nil>"),
    ("{{ print 1 2 \"a\" 3 }}", "1 2a3"),
    ("{{ println \"a\" 1 }}", "a 1\n"),
    # variables and scopes
    ("{{ $x := 1 }}{{ $x }}{{ $x = 2 }}{{ $x }}", "12"),
    ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
    ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
    ("{{ $sum := 0 }}{{ range loop 4 }}{{ $sum = add . $sum }}{{ end }}{{ $sum }}", "6"),
    ("{{ with $v := key \"k\" }}{{ $v }}/{{ . }}{{ end }}", "value/value"),
    # control
    ("{{ if eq 1 1 }}y{{ else }}n{{ end }}", "y"),
    ("{{ if false }}a{{ else if eq 1 2 }}b{{ else if true }}c{{ else }}d{{ end }}", "c"),
    ("{{ with key \"k\" }}<{{ . }}>{{ end }}", "<value>"),
    ("{{ with \"\" }}x{{ else }}empty{{ end }}", "empty"),
    ("{{ with \"\" }}x{{ else with \"y\" }}{{ . }}{{ end }}", "y"),
    ("{{ range loop 3 }}{{ . }},{{ end }}", "0,1,2,"),
    ("{{ range $i, $e := split \",\" \"a,b\" }}{{ $i }}{{ $e }} {{ end }}", "0a 1b "),
    ("{{ range $e := split \",\" \"a,b\" }}{{ $e }}{{ . }} {{ end }}", "aa bb "),
    ("{{ range service \"none\" }}x{{ else }}nobody{{ end }}", "nobody"),
    ("{{ range $k, $v := parseJSON \"{\\\"b\\\": 1, \\\"a\\\": 2}\" }}{{ $k }}={{ $v }} {{ end }}", "a=2 b=1 "),
    ("{{ range loop 9 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if gt . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}", "023"),
    ("{{ range $i, $x := loop 5 7 }}{{ range loop 2 }}{{ $i }}{{ $x }}{{ . }} {{ end }}{{ end }}", "050 051 160 161 "),
    # templates
    ("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" \"x\" }}{{ template \"t\" 1 }}", "[x][1]"),
    ("{{ template \"t\" \"x\" }}{{ define \"t\" }}[{{ $ }}]{{ end }}", "[x]"),
    ("{{ block \"b\" \"d\" }}<{{ . }}>{{ end }}{{ template \"b\" 2 }}", "<d><2>"),
    ("{{ define \"t\" }}{{ if . }}{{ . }}{{ template \"t\" (subtract 1 .) }}{{ end }}{{ end }}{{ template \"t\" 3 }}", "321"),
    ("{{ define \"t\" }}({{ . }}){{ end }}{{ executeTemplate \"t\" \"a\" | toUpper }}", "(A)"),
    # pipelines
    ("{{ \"abc\" | toUpper | printf \"%s-%s\" \"x\" }}", "x-ABC"),
    ("{{ (key \"k\") | len }}", "5"),
    ("{{ printf \"%d\" (len (service \"web\")) }}", "2"),
    ("{{ (index (service \"web\") 0).Address }}", "10.0.0.1"),
    # comparison and logic
    ("{{ eq 1 2 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt \"b\" \"a\" }} {{ ge 1 2 }}", "true true true true true false"),
    ("{{ and 1 0 2 }} {{ or 0 \"\" \"x\" }} {{ not true }} {{ and true \"last\" }}", "0 x false last"),
    ("{{ if and (eq 1 1) (not false) }}y{{ end }}", "y"),
    ("{{ or nil \"d\" }}{{ if or false (and true true) }}y{{ end }}", "dy"),
    # index, slice, len
    ("{{ index (split \",\" \"a,b\") 1 }}{{ slice \"hello\" 1 3 }}{{ len \"é\" }}", "bel2"),
    ("{{ $m := parseJSON (key \"json\") }}{{ index $m \"a\" \"b\" 1 }} {{ $m.a.b }} {{ $m.none }}", "2.5 [1 2.5 x] <no value>"),
    ("{{ with parseJSON (key \"json\") }}{{ .big }} {{ .large }} {{ .t }} {{ .z }}{{ end }}", "8080 1.234567e+06 true <nil>"),
    # escaping functions
    ("{{ html \"<a href='x'>&\\\"\" }}", "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"),
    ("{{ js \"it's <b>\" }} {{ urlquery \"a b&c\" }}", "it\\'s \\u003Cb\\u003E a+b%26c"),
    # printf
    ("{{ printf \"%5d|%-5d|%05d|%x|%X|%o|%b|%c\" 42 42 42 255 255 8 5 65 }}", "   42|42   |00042|ff|FF|10|101|A"),
    ("{{ printf \"%s|%10s|%-10s|%q|%.2s|%x\" \"a\" \"b\" \"c\" \"d\\\"\" \"hello\" \"hi\" }}", 'a|         b|c         |"d\\""|he|6869'),
    ("{{ printf \"%.2f|%8.3f|%e|%g|%v|%v\" 3.14159 2.5 1234.5 0.5 1.5 true }}", "3.14|   2.500|1.234500e+03|0.5|1.5|true"),
    ("{{ printf \"%v %v %t %%\" (split \",\" \"a,b\") \"s\" true }}", "[a b] s true %"),
    ("{{ printf \"%d\" \"x\" }}|{{ printf \"%s\" }}|{{ printf \"a\" 1 }}", "%!d(string=x)|%!s(MISSING)|a%!(EXTRA int=1)"),
    ("{{ printf \"%s\" 5 }}|{{ printf \"%+d\" 5 }}|{{ printf \"%*d\" 4 7 }}", "%!s(int=5)|+5|   7"),
]  # fmt: skip

FUNCTIONS = [
    ("{{ range services }}{{ .Name }}:{{ range .Tags }}{{ . }} {{ end }}{{ end }}", "api:prod web:prod v1 "),
    ("{{ range service \"web\" }}{{ .ID }} {{ .Node }} {{ .Address }}:{{ .Port }} {{ .Status }};{{ end }}", "web-1 n1 10.0.0.1:8001 passing;web-2 n1 10.0.0.2:8002 passing;"),
    ("{{ range service \"web\" }}{{ .ServiceMeta.version }}{{ index .ServiceMeta \"no\" }}{{ range .Checks }}{{ .CheckID }}{{ end }}{{ end }}", "1c2c"),
    ("{{ range services }}{{ range service .Name }}{{ .Name }}{{ .Port }} {{ end }}{{ end }}", "api8003 web8001 web8002 "),
    ("{{ range service \"web\" }}{{ if .Tags.Contains \"dev\" }}{{ .ID }}{{ end }}{{ if .Tags | contains \"v1\" }}{{ .ID }}{{ end }}{{ end }}", "web-1web-2"),
    ("{{ range service \"web\" }}{{ if in .Tags \"dev\" }}{{ .ID }}{{ end }}{{ end }}", "web-2"),
    ("{{ range $tag, $s := service \"web\" | byTag }}{{ $tag }}{{ len $s }} {{ end }}", "dev1 prod1 v11 "),
    ("{{ range $p, $s := service \"web\" | byPort }}{{ $p }}{{ range $s }}{{ .ID }} {{ end }}{{ end }}", "8001web-1 8002web-2 "),
    ("{{ range $m, $s := service \"web\" | byMeta \"version\" }}{{ $m }}{{ len $s }} {{ end }}", "11 21 "),
    ("{{ range nodes }}{{ .Node }} {{ .Address }} {{ .Datacenter }}{{ end }}", "n1 10.0.0.1 dc1"),
    ("{{ with node \"n1\" }}{{ .Node.Node }}{{ range .Services }}{{ .Service }}{{ .Port }}{{ end }}{{ end }}", "n1web80"),
    ("{{ range ls \"p\" }}{{ .Key }}={{ .Value }} {{ end }}|{{ range tree \"p\" }}{{ .Key }} {{ end }}", "b=3 |a/x a/y b "),
    ("{{ range $k, $ps := tree \"p\" | byKey }}{{ $k }}:{{ range $n, $p := $ps }}{{ $n }}={{ $p.Value }} {{ end }}{{ end }}", "a:x=1 y=2 "),
    ("{{ tree \"p\" | explode | toJSON }}", '{"a":{"x":"1","y":"2"},"b":"3"}'),
    ("{{ keyOrDefault \"absent\" \"d\" }} {{ keyExists \"k\" }} {{ keyExists \"absent\" }}", "d true false"),
    ("{{ env \"HOME\" }} {{ env \"NO\" }}{{ envOrDefault \"EMPTY\" \"d\" }} {{ mustEnv \"HOME\" }}", "/root d /root"),
    ("{{ key \"n\" | parseInt | add 2 }} {{ subtract 2 5 }} {{ multiply 2 3 }} {{ divide 2 7 }} {{ modulo 3 7 }} {{ minimum 1 2 }} {{ maximum 1 2 }}", "7 3 6 3 1 1 2"),
    ("{{ divide 2 -7 }} {{ modulo 3 -7 }} {{ add 1.5 1 }}", "-3 -1 2.5"),
    ("{{ base64Encode \"hi?>\" }} {{ base64Decode \"aGk=\" }} {{ base64URLEncode \"hi?>\" }} {{ base64URLDecode \"aGk_Pg==\" }}", "aGk/Pg== hi aGk_Pg== hi?>"),
    ("{{ sha256Hex \"a\" }} {{ md5sum \"a\" }}", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 0cc175b9c0f1b6a831c399e269772661"),
    ("{{ hmacSHA256Hex \"msg\" \"key\" }}", "2d93cbc1be167bcb1637a4a23cbff01a7878f0c50ee833954ea5221bb1b8c628"),
    ("{{ \"a,b\" | split \",\" | join \"-\" }} {{ range $k, $v := \"a:1,b:2\" | splitToMap \",\" \":\" }}{{ $k }}{{ $v }}{{ end }}", "a-b a1b2"),
    ("{{ \"Hello\" | toLower }} {{ \"x\" | toUpper }} {{ \"the world\" | toTitle }}", "hello X The World"),
    ("{{ \"  x \" | trimSpace }}{{ \"__x_\" | trim \"_\" }}{{ trimPrefix \"a\" \"ab\" }}{{ trimSuffix \"b\" \"ab\" }}", "xxba"),
    ("{{ trimLeft \"_\" \"__x_\" }} {{ trimRight \"_\" \"__x_\" }}", "x_ __x"),
    ("{{ \"foo.bar\" | replaceAll \".\" \"_\" }} {{ \"foobar\" | regexReplaceAll \"o+(b)\" \"<$1>\" }} {{ \"foo\" | regexMatch \"^fo+$\" }}", "foo_bar f<b>ar true"),
    ("{{ parseBool \"true\" }} {{ parseFloat \"1.5\" }} {{ parseInt \"7\" }} {{ parseUint \"8\" }}", "true 1.5 7 8"),
    ("{{ (parseYAML \"a: [1, x]\").a }} {{ parseJSON \"[1]\" | toJSON }}", "[1 x] [1]"),
    ("{{ parseJSON (key \"json\") | toYAML }}", "a:\n  b:\n  - 1\n  - 2.5\n  - x\nbig: 8080\nlarge: 1234567\nt: true\nz: null"),
    ("{{ \"a: 1\" | parseYAML | toTOML }}|{{ \"a: 1\" | parseYAML | toJSONPretty }}", "a = 1|{\n  \"a\": 1\n}"),
    ("{{ \"a\\nb\" | indent 2 }}", "  a\n  b"),
    ("{{ containsAll (split \",\" \"a,b\") (split \",\" \"a,b,c\") }} {{ containsAny (split \",\" \"a,z\") (split \",\" \"a\") }} {{ containsNone (split \",\" \"q\") (split \",\" \"a\") }} {{ containsNotAll (split \",\" \"a,q\") (split \",\" \"a\") }}", "true true true true"),
    ("{{ mergeMap (parseJSON \"{\\\"a\\\":1}\") (parseJSON \"{\\\"a\\\":2,\\\"b\\\":3}\") | toJSON }}{{ mergeMapWithOverride (parseJSON \"{\\\"a\\\":1}\") (parseJSON \"{\\\"a\\\":2}\") | toJSON }}", '{"a":1,"b":3}{"a":2}'),
    ("{{ explodeMap (parseJSON \"{\\\"a/b\\\":\\\"1\\\"}\") | toJSON }}", '{"a":{"b":"1"}}'),
    ("{{ scratch.Set \"k\" \"v\" }}{{ scratch.Get \"k\" }}{{ if scratch.Key \"k\" }}!{{ end }}{{ scratch.SetX \"k\" \"w\" }}{{ scratch.Get \"k\" }}", "v!v"),
    ("{{ scratch.MapSet \"m\" \"b\" 2 }}{{ scratch.MapSet \"m\" \"a\" 1 }}{{ scratch.MapSetX \"m\" \"a\" 9 }}{{ range scratch.MapValues \"m\" }}{{ . }}{{ end }}", "12"),
    ("{{ timestamp \"2006\" | len }} {{ timestamp \"unix\" | regexMatch \"^[0-9]+$\" }}", "4 true"),
    ("{{ sockaddr \"GetInterfaceIP \\\"lo\\\"\" }}", "127.0.0.1"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), LANGUAGE)
def test_the_language(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.parametrize(("source", "expected"), FUNCTIONS)
def test_the_functions(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x\n{{ if }}", "t.ctmpl:2: missing value"),
        ("{{ if true }}", "unexpected end of the template"),
        ("{{ end }}", "unexpected end"),
        ("{{ else }}", "unexpected else"),
        ("{{ nope 1 }}", "function 'nope' is not defined"),
        ("{{ $x }}", "undefined variable $x"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable $x"),
        ("{{ \"a }}", "unexpected"),
        ("{{ 1", "unclosed action"),
        ("{{ (1 }}", "unclosed parenthesis"),
        ("{{ template \"no\" }}", "template 'no' is not defined"),
        ("{{ break }}", "break outside of range"),
        ("{{ 1 | 2 }}", "a constant cannot take"),
        ("{{ key \"k\" \"}} x", "unexpected '\"}} x'"),
    ],
)  # fmt: skip
def test_what_does_not_compile_says_where_and_why(source: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\n{{ (index (service \"none\") 0).Address }}", "t.ctmpl:2: index out of range: 0"),
        ("{{ range service \"web\" }}{{ .Nope }}{{ end }}", "can't evaluate field Nope"),
        ("{{ eq 1 \"1\" }}", "incompatible types"),
        ("{{ call \"x\" }}", "not a function"),
        ("{{ parseJSON \"{\" }}", "parse_json"),
        ("{{ mustEnv \"NO\" }}", "not set"),
        ("{{ divide 0 1 }}", "by zero"),
        ("{{ \"x\" | parseInt }}", "not a whole number"),
        ("{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" }}", "deep"),
        ("{{ service \"web|nope\" }}", "filter 'nope'"),
    ],
)  # fmt: skip
def test_what_does_not_evaluate_says_where_and_why(source: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert said in str(caught.value) and str(caught.value).startswith("t.ctmpl:")


def test_missing_keys_are_an_error_where_that_is_asked_for() -> None:
    source = '{{ (parseJSON "{}").nope }}'
    assert render(source) == "<no value>"
    with pytest.raises(TemplateError, match="map has no entry"):
        render(source, strict=True)


def test_other_delimiters() -> None:
    assert render('<% key "k" %> {{ x }}', left="<%", right="%>") == "value {{ x }}"


def test_values_are_escaped_for_a_declared_syntax() -> None:
    hostile = world()
    hostile[ServiceQuery("web")] = (instance("web", 1), instance("web", 2, address="1;evil{"), instance("web", 3))
    source = '{{ range service "web" }}server {{ .Address }}:{{ .Port }};\n{{ end }}'
    evaluation = Evaluation(hostile)
    template = GoEngine({}).compile(source, "t", syntax="nginx")
    assert template.evaluate(evaluation) == "server 10.0.0.1:8001;\nserver 10.0.0.3:8003;\n"
    assert [refusal.value for refusal in evaluation.incremental.refusals] == ["1;evil{"]
    json_source = '{ {{ range $i, $s := service "web" }}{{ if $i }}, {{ end }}"{{ .ID }}": {{ .Address }}{{ end }} }'
    text = GoEngine({}).compile(json_source, "t", syntax="json").evaluate(Evaluation(hostile))
    assert text == '{ "web-1": "10.0.0.1", "web-2": "1;evil{", "web-3": "10.0.0.3" }'


def test_a_key_that_does_not_exist_is_waited_for() -> None:
    evaluation = Evaluation(world())
    GoEngine({}).compile('{{ key "absent" }}{{ keyOrDefault "unknown" "d" }}', "t").evaluate(evaluation)
    assert evaluation.incremental.missing == {KeyQuery("absent"), KeyQuery("unknown")}


# Incremental evaluation

TEMPLATES = [
    "{{ range services }}{{ .Name }}={{ key .Name }} {{ end }}",
    "{{ range $i, $s := services }}{{ $i }}{{ key $s.Name }}{{ end }}",
    "{{ $x := key \"a\" }}{{ range services }}{{ $x }}{{ key .Name }}{{ else }}{{ key \"b\" }}{{ end }}",
    "{{ $n := 0 }}{{ range services }}{{ $n = add 1 $n }}{{ $n }}{{ key .Name }}{{ end }}",
    "{{ range services }}{{ if eq (key .Name) \"1\" }}{{ break }}{{ end }}{{ .Name }}{{ end }}",
    "{{ define \"t\" }}{{ range services }}{{ key .Name }}{{ end }}{{ . }}{{ end }}{{ template \"t\" (key \"a\") }}{{ template \"t\" 1 }}",
    "{{ range $k, $v := tree \"p\" | byKey }}{{ $k }}{{ range $v }}{{ .Value }}{{ key \"a\" }}{{ end }}{{ end }}",
    "{{ range services }}{{ $s := .Name }}{{ range services }}{{ $s }}{{ key .Name }}{{ end }};{{ end }}",
    "{{ range services }}{{ scratch.Set .Name (key .Name) }}{{ end }}{{ if scratch.Key \"a\" }}{{ scratch.Get \"a\" }}{{ end }}",
    "{{ with key \"a\" }}{{ $a := . }}{{ range services }}{{ with key .Name }}{{ . }}{{ $a }}{{ $ }}{{ end }}{{ end }}{{ end }}",
]  # fmt: skip
NAMES = ["a", "b", "c"]
CHANGES = st.one_of(
    st.tuples(st.just("key"), st.sampled_from(NAMES), st.sampled_from(["", "0", "1", "x"])),
    st.tuples(st.just("services"), st.lists(st.sampled_from(NAMES), max_size=4, unique=True), st.just("")),
    st.tuples(st.just("tree"), st.lists(st.sampled_from(["x/1", "y/1", "y/2"]), max_size=3, unique=True), st.just("v")),
)


@pytest.mark.parametrize("source", TEMPLATES)
@settings(max_examples=50, deadline=None)
@given(st.lists(CHANGES, max_size=10))
def test_incremental_evaluation_gives_what_a_full_one_gives(source: str, changes: list[tuple[str, Any, str]]) -> None:
    template, values = GoEngine({}).compile(source, "t"), World()
    evaluation = Evaluation(values)

    def put(query: Any, value: Any) -> None:
        values[query] = value
        evaluation.incremental.invalidate(query)

    for name in NAMES:
        put(KeyQuery(name), "0")
    put(ServicesQuery(), tuple(ServiceSummary(ServiceName(name), ()) for name in NAMES[:2]))
    put(TreeQuery("p"), ())
    template.evaluate(evaluation)
    for kind, what, value in changes:
        if kind == "key":
            put(KeyQuery(what), value)
        elif kind == "services":
            put(ServicesQuery(), tuple(ServiceSummary(ServiceName(name), ()) for name in sorted(what)))
        else:
            put(TreeQuery("p"), tuple(pair("p", key, value) for key in sorted(what)))
        fresh = Evaluation(values)
        assert template.evaluate(evaluation) == template.evaluate(fresh)
        assert set(evaluation.incremental.readers) == set(fresh.incremental.readers)


def test_one_change_runs_one_round() -> None:
    values = World({ServicesQuery(): tuple(ServiceSummary(ServiceName(f"s{i}"), ()) for i in range(500))})
    values.update({ServiceQuery(f"s{i}"): (instance(f"s{i}", 1),) for i in range(500)})
    source = "{{ range services }}upstream {{ .Name }} {\n{{ range service .Name }}  server {{ .Address }};\n{{ end }}}\n{{ end }}"
    template, evaluation = GoEngine({}).compile(source, "t", syntax="nginx"), Evaluation(values)
    template.evaluate(evaluation)
    before = evaluation.incremental.rounds_run
    values[ServiceQuery("s7")] = ()
    evaluation.incremental.invalidate(ServiceQuery("s7"))
    assert "upstream s7 {\n}\n" in template.evaluate(evaluation)
    assert evaluation.incremental.rounds_run - before == 2
