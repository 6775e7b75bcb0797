"""nginx.conf never has another structure than its model, whatever names and values come from Consul, and Nginx always takes it."""

import re
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nginx import certificates, files, haproxy_conf, haproxy_process, nginx_conf, process, syntax
from nginx.errors import RefusedError
from nginx.haproxy_conf import HaproxySurroundings
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Instance, Model
from nginx.nginx_conf import Surroundings
from nginx.routes import Policy, build
from tests.support.nginx_config import Directive, names_at, parse

HOSTILE = st.sampled_from(
    [
        "; }",
        '"; root /etc; #',
        "a\nserver { listen 1; }",
        "$(id)",
        "${request_uri}",
        "x$remote_addr",
        "\\",
        '\\"',
        "'",
        "}",
        "{",
        "# comment",
        "a b",
        "\x00",
        "\x7f",
        "\r\n",
        "ü",
        "\u2028",
        "]] os.execute('id') [[",
        "../../etc/passwd",
        "/%00",
        "*",
        "",
        " ",
        "a" * 3000,
        "-1",
        "1e9",
        "0x10",
        "²",
        "٣",
    ]
)
NICE_HOSTS = st.sampled_from(
    ["a.example.org", "b.example.org", "*.example.org", "c.example.org, d.example.org", "xn--bcher-kva.ch"]
)
NICE_PATHS = st.sampled_from(["/", "/a", "/a/b", "/a.b~c", "/@x,/y"])


def labelled(keys: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {}, optional={key: st.one_of(nice, nice, HOSTILE, st.text(max_size=12)) for key, nice in keys.items()}
    )


VALUES: dict[str, st.SearchStrategy[str]] = {
    "HAPROXY_0_VHOST": NICE_HOSTS,
    "HAPROXY_0_PATH": NICE_PATHS,
    "HAPROXY_0_AUTH": st.just("realm:bob:$5$abc$0123456789abcdef"),
    "HAPROXY_0_BALANCE": st.sampled_from(["roundrobin", "leastconn", "source", "uri", "hdr(X-Shard)"]),
    "HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH": NICE_PATHS,
    "HAPROXY_0_REDIRECT_TO_HTTPS": st.sampled_from(["true", "false"]),
    "HAPROXY_0_BACKEND_HEAD": st.just("option httpchk"),
    "DROMOS_EDGE_HOSTS": NICE_HOSTS,
    "DROMOS_EDGE_PATH": NICE_PATHS,
    "DROMOS_EDGE_REWRITE": NICE_PATHS,
    "DROMOS_EDGE_PROTOCOL": st.sampled_from(["http", "https", "grpc", "grpcs", "tcp", "udp"]),
    "DROMOS_EDGE_PORT": st.sampled_from(["10001", "10002", "22"]),
    "DROMOS_EDGE_STICKY": st.sampled_from(["true", "session"]),
    "DROMOS_EDGE_BALANCE": st.sampled_from(["round_robin", "least_conn", "ewma", "hash"]),
    "DROMOS_EDGE_HASH_KEY": st.sampled_from(["ip", "uri", "header:X-A", "cookie:c"]),
    "DROMOS_EDGE_RATE": st.sampled_from(["100/s", "30/m", "0.5", "7.5"]),
    "DROMOS_EDGE_RATE_BURST": st.sampled_from(["0", "10"]),
    "DROMOS_EDGE_CONNECTIONS": st.just("10"),
    "DROMOS_EDGE_BODY_SIZE": st.sampled_from(["0", "10m", "1g"]),
    "DROMOS_EDGE_ALLOW": st.sampled_from(["10.0.0.0/8", "::1, 127.0.0.1"]),
    "DROMOS_EDGE_DENY": st.just("192.0.2.7"),
    "DROMOS_EDGE_AUTH": st.just("bob:$2y$05$0123456789abcdef"),
    "DROMOS_EDGE_AUTH_REALM": st.just("staff only"),
    "DROMOS_EDGE_CORS": st.sampled_from(["*", "https://a.example.org,https://*.example.com:8443"]),
    "DROMOS_EDGE_CORS_METHODS": st.just("GET,PUT"),
    "DROMOS_EDGE_CORS_HEADERS": st.just("X-A"),
    "DROMOS_EDGE_CORS_CREDENTIALS": st.just("true"),
    "DROMOS_EDGE_CORS_MAX_AGE": st.just("60"),
    "DROMOS_EDGE_CANARY_OF": st.sampled_from(["web", "api"]),
    "DROMOS_EDGE_CANARY_HEADER": st.just("X-Canary=yes"),
    "DROMOS_EDGE_CANARY_WEIGHT": st.just("10"),
    "DROMOS_EDGE_MIRROR": st.sampled_from(["web", "api"]),
    "DROMOS_EDGE_STANDBY": st.sampled_from(["web", "api"]),
    "DROMOS_EDGE_RETRY_ON": st.sampled_from(["http_502", "http_503,http_504"]),
    "DROMOS_EDGE_READ_TIMEOUT": st.sampled_from(["10s", "250ms"]),
    "DROMOS_EDGE_HTTPS_REDIRECT": st.just("true"),
    "DROMOS_EDGE_HSTS": st.sampled_from(["true", "600"]),
    "DROMOS_EDGE_MAINTENANCE": st.just("true"),
    "DROMOS_EDGE_DEPLOYMENT_GROUP": st.just("blue-green"),
}
META = st.builds(
    lambda app, labels, junk: {**({"dromos-app": app} if app else {}), **labels, **junk},
    st.one_of(st.sampled_from(["/web", "/group/api", ""]), HOSTILE),
    labelled(VALUES),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)
SERVICE = st.one_of(st.sampled_from(["web", "Web", "api", "group.api", "db_1", "a~b"]), HOSTILE, st.text(max_size=10))
ADDRESS = st.one_of(st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "2001:db8::1"]), HOSTILE)


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, tuple[Instance, ...]]:
    """Services of Consul, some of them hostile."""
    found = {}
    for name in draw(st.lists(SERVICE, max_size=5, unique=True)):
        meta = MappingProxyType(draw(META))
        found[name] = tuple(
            Instance(
                id=draw(st.one_of(st.just(f"{name}-{number}"), HOSTILE)),
                service=name,
                address=draw(ADDRESS),
                port=draw(st.sampled_from([80, 31000 + number, 0, 70000])),
                meta=meta,
                weight=draw(st.integers(0, 5)),
                healthy=draw(st.booleans()),
            )
            for number in range(draw(st.integers(0, 3)))
        )
    return found


def surroundings(root: Path, *, lua: bool = True, tls: bool = False, generation: int = 1) -> Surroundings:
    listen = Listen(
        "127.0.0.1:18080",
        "127.0.0.1:18081",
        tls="127.0.0.1:18443" if tls else "",
        grpc="127.0.0.1:18090",
        trusted=("10.0.0.0/8",),
    )
    return Surroundings(
        Layout(root), listen, Tuning(workers="1", connections=512, table_memory=1, metrics_memory=1), lua, generation
    )


def model_of(services: dict[str, tuple[Instance, ...]]) -> Model:
    return build(services, Policy(expose_all=True))


def servers_of(text: str) -> list[Directive]:
    (http,) = parse(text).all("http")
    return http.all("server")


@given(catalogs())
@settings(max_examples=150, deadline=None)
def test_the_structure_is_the_models_whatever_the_names_and_values(services: dict[str, tuple[Instance, ...]]) -> None:
    model = model_of(services)
    text = nginx_conf.render(model, surroundings(Path("/x")))
    configuration = parse(text)
    assert len(configuration.all("http")) == 1
    assert len(configuration.all("stream")) == (1 if model.streams else 0)
    hosts = {host for route in model.routes for host in route.hosts}
    users_servers = servers_of(text)[:-2]
    named = [name for server in users_servers for name in server.all("server_name")[0].words[1:]]
    assert sorted(named) == sorted(["_", *hosts])
    for server in users_servers:
        names = server.all("server_name")[0].words[1:]
        expected = {}
        for route in model.routes:
            if (set(names) & set(route.hosts)) or (names == ["_"] and not route.hosts):
                paths = [("^~", "/")] if route.path == "/" else [("=", route.path), ("^~", f"{route.path}/")]
                expected |= dict.fromkeys(paths, route.service)
        found = {}
        for location in server.all("location"):
            if len(location.words) == 3 and not location.all("internal"):
                found[location.words[1], location.words[2]] = location.all("set")[0].words[2]
        assert found == expected


@given(catalogs())
@settings(max_examples=100, deadline=None)
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
    process.prepare(around.layout)
    placeholder = certificates.placeholder(around.layout.placeholder)
    certificates.write(certificates.Bundle({}, {}), around.layout.tls, placeholder)

    @given(catalogs())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(services: dict[str, tuple[Instance, ...]]) -> None:
        files.write_atomically(around.layout.config, nginx_conf.render(model_of(services), around))
        process.check(around.layout, program, around.layout.config)

    check()


def test_haproxy_takes_every_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    program = haproxy_process.find_program()
    layout = Layout(tmp_path_factory.mktemp("edge"))
    listen = Listen("127.0.0.1:18080", "127.0.0.1:18081", grpc="127.0.0.1:18090", trusted=("10.0.0.0/8",))
    around = HaproxySurroundings(layout, listen, Tuning())
    process.prepare(layout)

    @given(catalogs())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(services: dict[str, tuple[Instance, ...]]) -> None:
        model = build(services, Policy(expose_all=True, unsupported=haproxy_conf.UNSUPPORTED))
        files.write_atomically(layout.haproxy_config, haproxy_conf.render(model, around))
        for name, text in haproxy_conf.maps(model).items():
            files.write_atomically(layout.haproxy_map(name), text)
        haproxy_process.check(program, layout.haproxy_config)

    check()


@given(catalogs())
@settings(max_examples=100, deadline=None)
def test_haproxy_has_the_models_sections_whatever_the_names_and_values(
    services: dict[str, tuple[Instance, ...]],
) -> None:
    model = build(services, Policy(expose_all=True, unsupported=haproxy_conf.UNSUPPORTED))
    listen = Listen("127.0.0.1:18080", "127.0.0.1:18081")
    text = haproxy_conf.render(model, HaproxySurroundings(Layout(Path("/x")), listen, Tuning()))
    # HAProxy knows a section by a first word at the beginning of a line.
    sections = [tuple(line.split()) for line in text.splitlines() if line and not line[0].isspace() and line[0] != "#"]
    found = haproxy_conf.backends(model)
    expected = [("global",), ("defaults",), ("frontend", "users"), ("frontend", "status")]
    expected += [("backend", one.name) for one in found]
    expected += [("userlist", f"users_{one.name}") for one in found if one.options.access.users]
    expected += [("frontend", f"tcp_{one.port}") for one in model.streams]
    assert sorted(sections) == sorted(expected)
    servers = [tuple(line.split()[1:3]) for line in text.splitlines() if line.split()[:1] == ["server"]]
    assert len(servers) == sum(len(one.service.endpoints) for one in found)


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
