"""haproxy.cfg never has another structure than its model, whatever names and values come from Consul, and HAProxy always takes it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from daemonkit.files import write_atomically
from nginx import haproxy_conf, haproxy_process
from nginx.haproxy_conf import HaproxySurroundings
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Instance
from tests.support.edge_catalogs import catalogs, each_key_with_each_fragment
from tests.support.edge_models import Twin, haproxy_model_of, surroundings, with_certificates


def haproxy_shape(text: str) -> list[tuple[str, int]]:
    """First word and number of words of each line, in whatever order, as HAProxy splits them."""
    found = []
    for line in text.splitlines():
        words = haproxy_words(line)
        if words:
            found.append((words[0], len(words)))
    return sorted(found)


def map_shape(text: str) -> list[int]:
    return sorted(len(line.split()) for line in text.split("\n"))


def haproxy_words(line: str) -> list[str]:
    words, word, at, mark = [], "", 0, ""
    begun = False
    while at < len(line):
        char = line[at]
        if mark:
            if char == mark:
                mark = ""
            else:
                word += char
        elif char in "\"'":
            mark, begun = char, True
        elif char == "\\" and at + 1 < len(line):
            at += 1
            word, begun = word + line[at], True
        elif char == "#":
            break
        elif char in " \t":
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + char, True
        at += 1
    assert not mark, f"a quote without an end: {line!r}"
    return [*words, word] if begun else words


@given(catalogs())
@settings(max_examples=60, deadline=None)
def test_haproxys_lines_are_those_of_a_model_whose_strings_are_harmless(
    services: dict[str, tuple[Instance, ...]],
) -> None:
    model = haproxy_model_of(services)
    harmless = Twin().of(model)
    around = HaproxySurroundings(Layout(Path("/x")), Listen("127.0.0.1:18080", "127.0.0.1:18081"), Tuning())
    assert haproxy_shape(haproxy_conf.render(model, around)) == haproxy_shape(haproxy_conf.render(harmless, around))
    for name, text in haproxy_conf.maps(model).items():
        assert map_shape(text) == map_shape(haproxy_conf.maps(harmless)[name])


def test_no_fragment_in_any_value_changes_the_structure_of_haproxys_configuration() -> None:
    model = haproxy_model_of(each_key_with_each_fragment())
    harmless = Twin().of(model)
    assert len(model.routes) > 1000
    around = HaproxySurroundings(Layout(Path("/x")), surroundings(Path("/x"), tls=True).listen, Tuning())
    assert haproxy_shape(haproxy_conf.render(model, around)) == haproxy_shape(haproxy_conf.render(harmless, around))
    for name, text in haproxy_conf.maps(model).items():
        assert map_shape(text) == map_shape(haproxy_conf.maps(harmless)[name])


def test_haproxy_takes_every_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    program = haproxy_process.find_program()
    layout = Layout(tmp_path_factory.mktemp("edge"))
    listen = surroundings(layout.root, tls=True).listen
    around = HaproxySurroundings(layout, listen, Tuning())
    with_certificates(layout)

    @given(catalogs())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(services: dict[str, tuple[Instance, ...]]) -> None:
        model = haproxy_model_of(services)
        write_atomically(layout.haproxy_config, haproxy_conf.render(model, around))
        for name, text in haproxy_conf.maps(model).items():
            write_atomically(layout.haproxy_map(name), text)
        haproxy_process.check(program, layout.haproxy_config)

    check()


@given(catalogs())
@settings(max_examples=30, deadline=None)
def test_haproxy_has_the_models_sections_whatever_the_names_and_values(
    services: dict[str, tuple[Instance, ...]],
) -> None:
    model = haproxy_model_of(services)
    listen = Listen("127.0.0.1:18080", "127.0.0.1:18081")
    text = haproxy_conf.render(model, HaproxySurroundings(Layout(Path("/x")), listen, Tuning()))
    # HAProxy knows a section by a first word at the beginning of a line.
    sections = [tuple(line.split()) for line in text.splitlines() if line and not line[0].isspace() and line[0] != "#"]
    found = haproxy_conf.backends(model)
    expected = [("global",), ("defaults",), ("frontend", "users"), ("frontend", "status")]
    expected += [("backend", "dromos_latency"), *(("backend", one.name) for one in found)]
    expected += [("frontend", "mirrors")] * any(route.options.mirror for route in model.routes)
    expected += [("userlist", f"users_{one.name}") for one in found if one.options.access.users]
    expected += [("frontend", f"tcp_{one.port}") for one in model.streams]
    assert sorted(sections) == sorted(expected)
    servers = [tuple(line.split()[1:3]) for line in text.splitlines() if line.split()[:1] == ["server"]]
    assert len(servers) == sum(len(one.service.endpoints) for one in found)
