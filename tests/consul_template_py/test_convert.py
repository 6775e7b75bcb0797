# ruff: noqa: E501  a template is read by the line
"""A converted template gives what the Go template gives."""

import sys
from pathlib import Path

import pytest

from consul_template_py.errors import TemplateError
from consul_template_py.evaluation import Evaluation
from consul_template_py.gotemplate.convert import convert
from consul_template_py.jinja.engine import Engine
from tests.consul_template_py.test_gotemplate import FUNCTIONS, LANGUAGE, world
from tests.support.processes import finished

DIFFERS = {  # on purpose: see the module's docstring
    "{{ with parseJSON (key \"json\") }}{{ .big }} {{ .large }} {{ .t }} {{ .z }}{{ end }}": "8080 1234567 true <nil>",
}  # fmt: skip
TABLE = [(source, DIFFERS.get(source, expected)) for source, expected in LANGUAGE + FUNCTIONS]


@pytest.mark.parametrize(("source", "expected"), TABLE)
def test_it_gives_what_the_go_template_gives(source: str, expected: str) -> None:
    converted = convert(source, "t.ctmpl")
    template = Engine({"HOME": "/root", "EMPTY": ""}).compile(converted, "t")
    assert template.evaluate(Evaluation(world())) == expected, converted


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "{{ range services }}upstream {{ .Name }} {\n{{ range service .Name }}  server {{ .Address }}:{{ .Port }};\n{{ end }}}\n{{ end }}",
            "{% for item in services() %}upstream {{ item.name }} {\n{% for item_2 in service(item.name) %}  server {{ item_2.address }}:{{ item_2.port }};\n{% endfor %}}\n{% endfor %}",
        ),
        (
            "{{- with $k := keyOrDefault \"a/b\" \"x\" -}} {{ $k | toUpper }}{{ else }}no{{ end }}",
            "{% set k = key_or_default(\"a/b\", \"x\") %}{% if k %}{{ to_upper(k) }}{% else %}no{% endif %}",
        ),
        (
            "{{ range $i, $s := service \"web|passing,warning\" }}{{ if $i }},{{ end }}{{ $s.ID }}{{ index $s.ServiceMeta \"v\" }}{{ end }}",
            "{% for s in service(\"web|passing,warning\") %}{% set i = loop.index0 %}{% if i %},{% endif %}{{ s.id }}{{ s.meta[\"v\"] }}{% endfor %}",
        ),
        ("{{ if and (eq .Port 80) (.Tags | contains \"x\") }}", None),
        ("a {{ \"{%\" }} {{ `{{` }}", "a {{ \"{%\" }} {{ \"{{\" }}"),
        ("{% raw %} {# no", "{{ \"{%\" }} raw %} {{ \"{#\" }} no"),
    ],
)  # fmt: skip
def test_it_reads_as_if_written_by_hand(source: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            convert(source, "t")
        return
    assert convert(source, "t") == expected


def test_the_command(tmp_path: Path) -> None:
    source, target = tmp_path / "in.ctmpl", tmp_path / "out.j2"
    source.write_text("{{ range services }}{{ .Name }}\n{{ end }}")
    program = [sys.executable, "-m", "consul_template_py.daemon", "convert"]
    done = finished([*program, str(source)])
    assert (done.returncode, done.stdout) == (0, "{% for item in services() %}{{ item.name }}\n{% endfor %}")
    assert finished([*program, str(source), "-o", str(target)]).returncode == 0
    assert target.read_text() == done.stdout
    source.write_text("\n{{ nope }}")
    wrong = finished([*program, str(source)])
    assert wrong.returncode == 1 and wrong.stderr == f"error: {source}:2: function 'nope' is not defined\n"
