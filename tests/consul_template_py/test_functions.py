# ruff: noqa: E501  a table of templates is read by the line
"""Each function that a Jinja2 template may call gives what it says, as a function and as a filter; no function is without a row here."""

import re
from pathlib import Path
from typing import Any

import pytest

from consul_template_py.errors import TemplateError
from consul_template_py.evaluation import Evaluation
from consul_template_py.functions.pure import HELPERS
from consul_template_py.functions.queries import Queries
from consul_template_py.gotemplate.engine import GoEngine
from consul_template_py.gotemplate.functions import PURE, SPECIAL, asking_functions
from consul_template_py.jinja.engine import Engine
from consul_template_py.query import (
    CaRoot,
    CaRootsQuery,
    DatacentersQuery,
    KeyQuery,
    ServiceQuery,
    TreeQuery,
)
from consul_template_py.query.files import FileQuery
from consul_template_py.query.vault import Secret, SecretQuery, SecretsQuery
from consul_template_py.query.zookeeper import ZchildrenQuery, ZnodeQuery
from tests.consul_template_py.test_gotemplate import FUNCTIONS as GO_FUNCTIONS
from tests.consul_template_py.test_gotemplate import LANGUAGE as GO_LANGUAGE
from tests.consul_template_py.test_gotemplate import World, instance, pair, world

ROOT = CaRoot(id="r1", name="root", root_cert_pem="-----", active=True)
SECRET = Secret(data={"password": "p", "ttl": "1h"}, request_id="", lease_id="", lease_duration=0, renewable=False)


def full_world() -> World:
    known = world()
    known |= {
        DatacentersQuery(): ("dc1", "dc2"),
        CaRootsQuery(): (ROOT,),
        ServiceQuery("web", connect=True): (instance("web", 1),),
        ServiceQuery("web", filters=("passing", "warning")): (instance("web", 1), instance("web", 5, status="warning")),
        SecretQuery("secret/db"): SECRET,
        SecretQuery("pki/issue/web", (("common_name", "a"), ("ttl", "1h"))): SECRET,
        SecretsQuery("secret"): ("app/", "db"),
        FileQuery(Path("/etc/motd")): "hello",
        ZnodeQuery("/a"): "zoo",
        ZnodeQuery("/none"): None,
        ZchildrenQuery("/"): ("a", "b"),
        KeyQuery("dromos/config/prod/inherits"): "base",
        KeyQuery("dromos/config/base/inherits"): None,
        TreeQuery("dromos/config/prod/values"): (pair("dromos/config/prod/values", "db/host", "p1"),),
        TreeQuery("dromos/config/base/values"): (
            pair("dromos/config/base/values", "db/host", "b1"),
            pair("dromos/config/base/values", "db/port", "5432"),
        ),
    }
    return known


TABLE = [
    # Consul
    ("{{ datacenters() | join(',') }}", "dc1,dc2"),
    ("{% for s in services() %}{{ s.name }}:{{ s.tags | join('+') }} {% endfor %}", "api:prod web:prod+v1 "),
    ("{% for i in service('web') %}{{ i.id }} {{ i.node }} {{ i.address }}:{{ i.port }} {{ i.status }} {{ i.meta.version }} {{ i.checks[0].id }};{% endfor %}", "web-1 n1 10.0.0.1:8001 passing 1 c;web-2 n1 10.0.0.2:8002 passing 2 c;"),
    ("{% for i in service('web', 'passing,warning') %}{{ i.port }} {% endfor %}{{ service('web|passing,warning') | length }}", "8001 8005 2"),
    ("{% for i in connect('web') %}{{ i.address }}{% endfor %}", "10.0.0.1"),
    ("{% for n in nodes() %}{{ n.name }} {{ n.address }} {{ n.datacenter }}{% endfor %}", "n1 10.0.0.1 dc1"),
    ("{% set n = node('n1') %}{{ n.node.name }} {{ n.services[0].name }} {{ n.services[0].port }}", "n1 web 80"),
    ("{% for r in ca_roots() %}{{ r.name }} {{ r.root_cert_pem }}{% endfor %}", "root -----"),
    ("{{ key('k') }} {{ key_exists('k') }} {{ key_exists('absent') }} {{ key_or_default('absent', 'd') }}", "value True False d"),
    ("{% for p in ls('p') %}{{ p.key }}={{ p.value }} {% endfor %}|{% for p in safe_ls('p') %}{{ p.key }}{% endfor %}", "b=3 |b"),
    ("{% for p in tree('p') %}{{ p.key }}={{ p.value }} {{ p.path }} {% endfor %}|{{ safe_tree('p') | length }}", "a/x=1 p/a/x a/y=2 p/a/y b=3 p/b |3"),
    ("{{ config('prod', 'db/host') }} {{ config('prod', 'db/port') }} {{ config('prod', 'no', 'd') }} {{ config('prod') | to_json }}", 'p1 5432 d {"db/host":"p1","db/port":"5432"}'),
    # other sources
    ("{{ secret('secret/db').data.password }} {{ secret('pki/issue/web', 'common_name=a', ttl='1h').data.ttl }} {{ secrets('secret') | join(',') }}", "p 1h app/,db"),
    ("{{ file('/etc/motd') }}", "hello"),
    ("{{ znode('/a') }} {{ znode_or_default('/none', 'd') }} {{ zchildren('/') | join(',') }}", "zoo d a,b"),
    ("{{ env('HOME') }} {{ env('NO', 'd') }} {{ env_or_default('EMPTY', 'd') }} {{ must_env('HOME') }}", "/root d d /root"),
    ("{{ sockaddr('GetInterfaceIP \"lo\"') }}", "127.0.0.1"),
    ("{{ timestamp('%Y') | length }} {{ timestamp('unix') | regex_match('^[0-9]+$') }}", "4 True"),
    ("{{ scratch.set('a', 1) }}{{ scratch.set_x('a', 2) }}{{ scratch.get('a') }}{{ scratch.key('b') }}{{ scratch.map_set('m', 'z', 1) }}{{ scratch.map_set_x('m', 'a', 2) }}{{ scratch.map_values('m') | join(',') }}", "1False2,1"),
    # services and key pairs in groups
    ("{% for k, ps in tree('p') | by_key | items %}{{ k }}:{% for n, p in ps.items() %}{{ n }}={{ p.value }} {% endfor %}{% endfor %}", "a:x=1 y=2 "),
    ("{% for t, found in service('web') | by_tag | items %}{{ t }}{{ found | length }} {% endfor %}", "dev1 prod1 v11 "),
    ("{% for p, found in service('web') | by_port | items %}{{ p }}{{ found[0].id }} {% endfor %}", "8001web-1 8002web-2 "),
    ("{% for m, found in service('web') | by_meta('version|int') | items %}{{ m }}{{ found | length }} {% endfor %}", "000011 000021 "),
    ("{{ tree('p') | explode | to_json }} {{ explode_map({'a/b': '1'}) | to_json }}", '{"a":{"x":"1","y":"2"},"b":"3"} {"a":{"b":"1"}}'),
    # lists and maps
    ("{{ ['a','b'] | contains('a') }} {{ in_('c', ['a','b']) }} {{ 'a' | in_('abc') }}", "True False True"),
    ("{{ ['a','b','c'] | contains_all(['a','b']) }} {{ ['a'] | contains_any(['a','z']) }} {{ ['a'] | contains_none(['q']) }} {{ ['a'] | contains_not_all(['a','q']) }}", "True True True True"),
    ("{{ merge_map({'a': 1}, {'a': 2, 'b': 3}) | to_json }}{{ merge_map_with_override({'a': 1}, {'a': 2}) | to_json }}", '{"a":1,"b":3}{"a":2}'),
    ("{{ 'a,b' | split(',') | join('-') }} {{ 'a:1,b:2' | split_to_map(',', ':') | to_json }}", 'a-b {"a":"1","b":"2"}'),
    # formats
    ("{{ parse_json('{\"a\": [1, 2.5]}').a[1] }} {{ parse_yaml('a: [1, x]').a | to_json }}", '2.5 [1,"x"]'),
    ("{{ {'b': 1, 'a': 'x'} | to_yaml }}|{{ {'a': 1} | to_toml }}|{{ {'a': 1} | to_json_pretty }}", 'a: x\nb: 1|a = 1|{\n  "a": 1\n}'),
    # text
    ("{{ 'hi?>' | base64_encode }} {{ 'aGk=' | base64_decode }} {{ 'hi?>' | base64_url_encode }} {{ 'aGk_Pg==' | base64_url_decode }}", "aGk/Pg== hi aGk_Pg== hi?>"),
    ("{{ 'a' | sha256_hex }} {{ 'a' | md5 }}", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 0cc175b9c0f1b6a831c399e269772661"),
    ("{{ 'msg' | hmac_sha256_hex('key') }}", "2d93cbc1be167bcb1637a4a23cbff01a7878f0c50ee833954ea5221bb1b8c628"),
    ("{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}", "a\n  b|  a\n  b"),
    ("{{ 'Hello' | to_lower }} {{ 'x' | to_upper }} {{ 'the world' | to_title }}", "hello X The World"),
    ("[{{ ' x ' | trim }}{{ ' x ' | trim_space }}{{ '__x_' | trim('_') }}{{ '_x_' | trim_left('_') }}{{ '_x_' | trim_right('_') }}{{ 'ab' | trim_prefix('a') }}{{ 'ab' | trim_suffix('b') }}]", "[xxxx__xba]"),
    ("{{ 'foo.bar' | replace_all('.', '_') }} {{ 'foobar' | regex_replace_all('o+(b)', '<$1>') }} {{ 'foo' | regex_match('^fo+$') }}", "foo_bar f<b>ar True"),
    ("{{ 'true' | parse_bool }} {{ '1.5' | parse_float }} {{ '7' | parse_int }} {{ '8' | parse_uint }}", "True 1.5 7 8"),
    # numbers
    ("{{ 1 | add(2) }} {{ 5 | subtract(2) }} {{ 3 | multiply(2) }} {{ 7 | divide(2) }} {{ 7 | modulo(3) }} {{ 1 | minimum(2) }} {{ 1 | maximum(2) }}", "3 3 6 3 1 1 2"),
]  # fmt: skip


def render(source: str, **compile: Any) -> str:
    template = Engine({"HOME": "/root", "EMPTY": ""}).compile(source, "t.j2", **compile)
    evaluation = Evaluation(full_world())
    text = template.evaluate(evaluation)
    assert not evaluation.incremental.missing
    return text


@pytest.mark.parametrize(("source", "expected"), TABLE)
def test_it_gives(source: str, expected: str) -> None:
    assert render(source) == expected


def test_every_function_has_a_row() -> None:
    shown = " ".join(source for source, _ in TABLE)
    names = [*HELPERS, *(name for name in vars(Queries) if not name.startswith("_"))]
    # `loop` is what Jinja2 calls the position in a loop; `range` does that work there.
    assert [name for name in names if name != "loop" and not re.search(rf"\b{name}\b", shown)] == []


def test_every_function_of_go_templates_has_a_row() -> None:
    shown = " ".join(source for source, _ in GO_FUNCTIONS + GO_LANGUAGE) + " ".join(source for source, _ in GO_OTHERS)
    # Nothing that a template can have may be called: `call` has a row among the errors.
    names = {*PURE, *SPECIAL, *asking_functions(None)} - {"call"}  # type: ignore[arg-type]
    assert [name for name in names if not re.search(rf"\b{name}\b", shown)] == []


GO_OTHERS = [
    ("{{ range datacenters }}{{ . }} {{ end }}{{ range caRoots }}{{ .Name }}{{ end }}", "dc1 dc2 root"),
    ("{{ range connect \"web\" }}{{ .Address }}{{ end }}", "10.0.0.1"),
    ("{{ with secret \"secret/db\" }}{{ .Data.password }}{{ end }} {{ with secret \"pki/issue/web\" \"common_name=a\" \"ttl=1h\" }}{{ .Data.ttl }}{{ end }} {{ range secrets \"secret\" }}{{ . }} {{ end }}", "p 1h app/ db "),
    ("{{ file \"/etc/motd\" }} {{ znode \"/a\" }} {{ znodeOrDefault \"/none\" \"d\" }} {{ range zchildren \"/\" }}{{ . }}{{ end }}", "hello zoo d ab"),
    ("{{ range safeLs \"p\" }}{{ .Key }}{{ end }} {{ safeTree \"p\" | len }} {{ config \"prod\" \"db/host\" }}", "b 3 p1"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), GO_OTHERS)
def test_it_gives_the_same_to_a_go_template(source: str, expected: str) -> None:
    assert GoEngine({"HOME": "/root"}).compile(source, "t.ctmpl").evaluate(Evaluation(full_world())) == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ must_env('NO') }}", "NO"),
        ("{{ 'x' | parse_int }}", "not a whole number"),
        ("{{ '-1' | parse_uint }}", "-1"),
        ("{{ 'maybe' | parse_bool }}", "maybe"),
        ("{{ parse_json('{') }}", "parse_json"),
        ("{{ parse_yaml('a: [') }}", "parse_yaml"),
        ("{{ 1 | divide(0) }}", "by zero"),
        ("{{ '*' | base64_decode }}", "base64_decode"),
        ("{{ 'a' | regex_match('(') }}", "("),
        ("{{ service('web|nope') }}", "filter 'nope'"),
        ("{{ service('') }}", "names no service"),
        ("{{ sockaddr('GetNothing') }}", "GetPrivateIP"),
        ("{{ service('web') | by_meta('') }}", "by_meta"),
        ("{{ config('../x') }}", "x"),
        ("{{ [1] | to_toml }}", "to_toml"),
    ],
)
def test_what_it_cannot_do_is_said_with_the_template_and_the_line(source: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(f"\n{source}")
    assert said in str(caught.value) and str(caught.value).startswith("t.j2:2: ")


@pytest.mark.parametrize(
    "source",
    [
        "{{ key('absent') }}",
        "{{ safe_tree('empty') }}",
        "{{ safe_ls('empty') }}",
        "{{ file('/none') }}",
        "{{ znode('/none') }}",
    ],
)
def test_what_is_not_there_yet_is_waited_for(source: str) -> None:
    known = full_world()
    known |= {TreeQuery("empty"): (), FileQuery(Path("/none")): None}
    evaluation = Evaluation(known)
    Engine({}).compile(source, "t").evaluate(evaluation)
    assert len(evaluation.incremental.missing) == 1
