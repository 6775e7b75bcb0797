"""nginx.conf never has another structure than its model, whatever names and values come from Consul, and Nginx always takes it."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemonkit.files import write_atomically
from nginx import nginx_conf, process, syntax
from nginx.errors import RefusedError
from nginx.layout import Layout
from nginx.model import Instance
from nginx.routes import Policy, build
from tests.support.edge_catalogs import catalogs, each_key_with_each_fragment
from tests.support.edge_models import Twin, model_of, surroundings, with_certificates
from tests.support.nginx_config import Directive, names_at, parse


def shape(directive: Directive) -> tuple[object, ...]:
    """Names of directives and how many words each has, in whatever order."""
    values = directive.name in ("map", "geo")  # whose entries begin with a value
    below = sorted(((("", *shape(one)[1:]) if values else shape(one)) for one in directive.block or []), key=repr)
    return (directive.name, 1 if directive.lua else len(directive.words), *below)


def servers_of(text: str) -> list[Directive]:
    (http,) = parse(text).all("http")
    return http.all("server")


def names_of(server: Directive) -> list[str]:
    return server.all("server_name")[0].words[1:]


def maps_of(text: str) -> dict[str, dict[str, str]]:
    """Variable -> what each host (or whatever its source is) gives."""
    (http,) = parse(text).all("http")
    return {
        one.words[2]: {entry.words[0].removeprefix("\\"): entry.words[-1] for entry in one.block or []}
        for one in http.all("map")
    }


@given(catalogs())
@settings(max_examples=50, deadline=None)
def test_the_structure_is_the_models_whatever_the_names_and_values(services: dict[str, tuple[Instance, ...]]) -> None:
    model = model_of(services)
    text = nginx_conf.render(model, surroundings(Path("/x")))
    configuration = parse(text)
    assert len(configuration.all("http")) == 1
    assert len(configuration.all("stream")) == (1 if model.streams else 0)
    hosts = {host for route in model.routes for host in route.hosts}
    users_servers = servers_of(text)[:-2]
    named = [name for server in users_servers for name in names_of(server)]
    assert sorted(named) == sorted(["_", *hosts])
    services_of = maps_of(text)
    for server in users_servers:
        for name in names_of(server):
            expected = {}
            for route in model.routes:
                if name in route.hosts or (name == "_" and not route.hosts):
                    paths = [("^~", "/")] if route.path == "/" else [("=", route.path), ("^~", f"{route.path}/")]
                    expected |= dict.fromkeys(paths, route.service)
            found = {}
            for location in server.all("location"):
                if len(location.words) == 3 and not location.all("internal"):
                    service = location.all("set")[0].words[2]
                    found[location.words[1], location.words[2]] = (
                        services_of[service][name] if service.startswith("$") else service
                    )
            assert found == expected


@given(catalogs(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_structure_is_that_of_a_model_whose_strings_are_harmless(
    services: dict[str, tuple[Instance, ...]], lua: bool
) -> None:
    model, around = model_of(services), surroundings(Path("/x"), lua=lua, tls=True)
    harmless = Twin().of(model)
    assert shape(parse(nginx_conf.render(model, around))) == shape(parse(nginx_conf.render(harmless, around)))
    users = [len(text.splitlines()) for text in nginx_conf.user_files(model).values()]
    assert sorted(users) == sorted(len(text.splitlines()) for text in nginx_conf.user_files(harmless).values())


@pytest.mark.parametrize("lua", [True, False], ids=["with Lua", "plain"])
def test_no_fragment_in_any_value_changes_the_structure_of_nginx_conf(lua: bool) -> None:
    model, around = model_of(each_key_with_each_fragment()), surroundings(Path("/x"), lua=lua, tls=True)
    assert len(model.routes) > 1000
    assert shape(parse(nginx_conf.render(model, around))) == shape(parse(nginx_conf.render(Twin().of(model), around)))
    for name, text in nginx_conf.user_files(model).items():
        assert re.fullmatch(r"(bob:[^:\s]+\n)+", text), name


@given(catalogs())
@settings(max_examples=30, deadline=None)
def test_no_directive_appears_that_the_template_does_not_have(services: dict[str, tuple[Instance, ...]]) -> None:
    templates = Path(nginx_conf.__file__).parent / "templates"
    known = {
        name
        for template in ("nginx.conf.j2", "lua.conf.j2")
        for name in re.findall(r"(?:^|\{ ?|%\})\s*([a-z_0-9]+)\b", (templates / template).read_text(), re.MULTILINE)
    }
    known |= {f"{kind}_{what}" for kind in ("proxy", "grpc") for what in ("pass", "next_upstream", "ssl_name")}
    known |= {"grpc_ssl_server_name", "header_filter_by_lua_block", "location", "server", "stream", "upstream"}
    text = nginx_conf.render(model_of(services), surroundings(Path("/x")))
    configuration = parse(text)
    for path in names_at(configuration):
        is_map_entry = path.startswith(("http/map/", "http/geo/"))
        assert is_map_entry or path.rpartition("/")[2] in known, f"{path} in\n{text}"


@pytest.fixture(scope="module")
def program() -> str:
    return process.find_program()


@pytest.mark.parametrize("lua", [True, False], ids=["with Lua", "plain"])
def test_nginx_takes_every_model(tmp_path_factory: pytest.TempPathFactory, program: str, lua: bool) -> None:
    around = surroundings(tmp_path_factory.mktemp("edge"), lua=lua, tls=True)
    with_certificates(around.layout)

    @given(catalogs())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(services: dict[str, tuple[Instance, ...]]) -> None:
        write_atomically(around.layout.config, nginx_conf.render(model_of(services), around))
        process.check(around.layout, program, around.layout.config)

    check()


def test_nginx_refuses_what_is_no_configuration(tmp_path: Path, program: str) -> None:
    """The check can fail."""
    layout = Layout(tmp_path)
    process.prepare(layout)
    layout.config.write_text("events {} http { nonsense; }")
    with pytest.raises(process.ProxyFailedError, match="nonsense"):
        process.check(layout, program, layout.config)


@given(st.text())
def test_a_quoted_value_is_read_back_as_it_was_or_refused(value: str) -> None:
    try:
        quoted = syntax.quote(value)
    except RefusedError:
        assert "$" in value or not value.isprintable()
        return
    assert parse(f"set {quoted} x;").block == [Directive(["set", value, "x"])]


def test_the_same_model_gives_the_same_text_in_whatever_order_consul_lists_it() -> None:
    one = Instance("1", "web", "127.0.0.1", 80, meta={"dromos-app": "/web"})
    two = Instance("2", "api", "127.0.0.1", 81, meta={"HAPROXY_0_VHOST": "api.test"})
    around = surroundings(Path("/x"))
    first = nginx_conf.render(build({"web": (one,), "api": (two,)}, Policy()), around)
    second = nginx_conf.render(build({"api": (two,), "web": (one,)}, Policy()), around)
    assert first == second


def test_endpoints_are_no_part_of_the_text_with_lua() -> None:
    around = surroundings(Path("/x"))
    one = Instance("1", "web", "127.0.0.1", 80, meta={"dromos-app": "/web"})
    two = Instance("2", "web", "127.0.0.1", 81, meta={"dromos-app": "/web"})
    assert nginx_conf.render(build({"web": (one,)}, Policy()), around) == nginx_conf.render(
        build({"web": (one, two)}, Policy()), around
    )
