"""nginx.conf never has another structure than its model, whatever names and values come from Consul, and Nginx always takes it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
HOSTS = [
    "a.example.org",
    "b.example.org",
    "default",
    "*.example.org",
    "c.example.org, d.example.org",
    "xn--bcher-kva.ch",
]
PATHS = ["/", "/a", "/a/b", "/a.b~c", "/@x,/y"]
# What means something to Nginx, HAProxy or Lua; put into a value that is fine otherwise.
FRAGMENTS = [
    "; }",
    ";",
    "{",
    "}",
    "\n",
    "\r",
    " ",
    "\t",
    '"',
    "'",
    "\\",
    "$",
    "#",
    " #",
    "$x",
    "%[src]",
    "`",
    "]]",
    "\x00",
    "\n  ",
    " } { always_true",
    " or { always_true }",
    " if TRUE",
    "\nbackend x\n",
    "/ { return 200; } location /x",
    "(",
    "|",
    "ü",
]


@st.composite
def nearly(draw: st.DrawFn, nice: st.SearchStrategy[str]) -> str:
    """A good value with a bad place in it."""
    value = draw(nice)
    at = draw(st.integers(0, len(value)))
    return value[:at] + draw(st.sampled_from(FRAGMENTS)) + value[at:]


@st.composite
def labelled(draw: st.DrawFn, keys: dict[str, st.SearchStrategy[str]]) -> dict[str, str]:
    """Some keys, at most two of them with a value that is not as it should be: with more, a route is rarely made at all."""
    chosen = draw(st.lists(st.sampled_from(sorted(keys)), max_size=8, unique=True))
    bad = set(chosen[: draw(st.integers(0, 2))])
    return {
        key: draw(st.one_of(nearly(keys[key]), nearly(keys[key]), HOSTILE) if key in bad else keys[key])
        for key in chosen
    }


GOOD: dict[str, list[str]] = {
    "HAPROXY_0_VHOST": HOSTS,
    "HAPROXY_0_PATH": PATHS,
    "HAPROXY_0_AUTH": ["realm:bob:$5$abc$0123456789abcdef"],
    "HAPROXY_0_BALANCE": ["roundrobin", "leastconn", "source", "uri", "hdr(X-Shard)"],
    "HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH": PATHS,
    "HAPROXY_0_REDIRECT_TO_HTTPS": ["true", "false"],
    "HAPROXY_0_BACKEND_HEAD": ["option httpchk"],
    "DROMOS_EDGE_HOSTS": HOSTS,
    "DROMOS_EDGE_PATH": PATHS,
    "DROMOS_EDGE_REWRITE": PATHS,
    "DROMOS_EDGE_PROTOCOL": ["http", "https", "grpc", "grpcs", "tcp", "udp"],
    "DROMOS_EDGE_PORT": ["10001", "10002", "22"],
    "DROMOS_EDGE_STICKY": ["true", "session"],
    "DROMOS_EDGE_BALANCE": ["round_robin", "least_conn", "ewma", "hash"],
    "DROMOS_EDGE_HASH_KEY": ["ip", "uri", "header:X-A", "cookie:c"],
    "DROMOS_EDGE_RATE": ["100/s", "30/m", "0.5", "7.5"],
    "DROMOS_EDGE_RATE_BURST": ["0", "10"],
    "DROMOS_EDGE_CONNECTIONS": ["10"],
    "DROMOS_EDGE_BODY_SIZE": ["0", "10m", "1g"],
    "DROMOS_EDGE_ALLOW": ["10.0.0.0/8", "::1, 127.0.0.1"],
    "DROMOS_EDGE_DENY": ["192.0.2.7"],
    "DROMOS_EDGE_AUTH": ["bob:$2y$05$0123456789abcdef"],
    "DROMOS_EDGE_AUTH_REALM": ["staff only"],
    "DROMOS_EDGE_CORS": ["*", "https://a.example.org,https://*.example.com:8443"],
    "DROMOS_EDGE_CORS_METHODS": ["GET,PUT"],
    "DROMOS_EDGE_CORS_HEADERS": ["X-A"],
    "DROMOS_EDGE_CORS_CREDENTIALS": ["true"],
    "DROMOS_EDGE_CORS_MAX_AGE": ["60"],
    "DROMOS_EDGE_CANARY_OF": ["web", "api"],
    "DROMOS_EDGE_CANARY_HEADER": ["X-Canary=yes"],
    "DROMOS_EDGE_CANARY_COOKIE": ["canary"],
    "DROMOS_EDGE_CLIENT_CA": ["staff.pem"],
    "DROMOS_EDGE_CANARY_WEIGHT": ["10"],
    "DROMOS_EDGE_MIRROR": ["web", "api"],
    "DROMOS_EDGE_STANDBY": ["web", "api"],
    "DROMOS_EDGE_RETRY_ON": ["http_502", "http_503,http_504"],
    "DROMOS_EDGE_READ_TIMEOUT": ["10s", "250ms"],
    "DROMOS_EDGE_HTTPS_REDIRECT": ["true"],
    "DROMOS_EDGE_HSTS": ["true", "600"],
    "DROMOS_EDGE_MAINTENANCE": ["true"],
    "DROMOS_EDGE_DEPLOYMENT_GROUP": ["blue-green"],
}
VALUES = {key: st.sampled_from(values) for key, values in GOOD.items()}
META = st.builds(
    lambda app, labels, junk: {**({"dromos-app": app} if app else {}), **labels, **junk},
    st.one_of(st.sampled_from(["/web", "/group/api", ""]), HOSTILE),
    labelled(VALUES),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)
NICE_SERVICES = st.sampled_from(["web", "Web", "api", "group.api", "db_1", "a~b"])
NICE_ADDRESSES = st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "2001:db8::1"])
SERVICE = st.one_of(NICE_SERVICES, NICE_SERVICES, nearly(NICE_SERVICES), HOSTILE, st.text(max_size=10))
ADDRESS = st.one_of(NICE_ADDRESSES, NICE_ADDRESSES, nearly(NICE_ADDRESSES), HOSTILE)


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, tuple[Instance, ...]]:
    """Services of Consul, some of them hostile."""
    found = {}
    for name in draw(st.lists(SERVICE, max_size=5, unique=True)):
        meta = MappingProxyType(draw(META))
        tags = tuple(f"{key}={value}" for key, value in draw(labelled(VALUES)).items()) if draw(st.booleans()) else ()
        found[name] = tuple(
            Instance(
                id=draw(st.one_of(st.just(f"{name}-{number}"), HOSTILE)),
                service=name,
                address=draw(ADDRESS),
                port=draw(st.sampled_from([80, 31000 + number, 0, 70000])),
                meta=meta,
                tags=tags,
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


AUTHORITIES = frozenset({"staff.pem"})


def model_of(services: dict[str, tuple[Instance, ...]]) -> Model:
    return build(services, Policy(expose_all=True, authorities=AUTHORITIES))


def haproxy_model_of(services: dict[str, tuple[Instance, ...]]) -> Model:
    policy = Policy(expose_all=True, authorities=AUTHORITIES, one_authority=True, unsupported=haproxy_conf.UNSUPPORTED)
    return build(services, policy)


# Where the strings of a model come from, and what stands there in its harmless twin.
HARMLESS: dict[str, Callable[[str, int], str]] = {
    **dict.fromkeys(
        ("Route.service", "StreamRoute.service", "Service.name", "Service.canaries", "Canary.of", "Standby.service"),
        lambda value, number: f"s{number}",
    ),
    "Options.mirror": lambda value, number: f"s{number}",
    **dict.fromkeys(
        ("Route.hosts", "Options.hosts"), lambda value, number: "*." * value.startswith("*.") + f"h{number}"
    ),
    **dict.fromkeys(
        ("Route.path", "Options.paths", "Options.rewrite", "Service.app"), lambda value, number: f"/p{number}"
    ),
    **dict.fromkeys(
        ("HashKey.name", "Balancing.sticky", "Canary.header", "Canary.header_value", "Canary.cookie", "User.name"),
        lambda value, number: f"t{number}",
    ),
    **dict.fromkeys(("Access.realm", "Access.client_ca", "Cors.headers"), lambda value, number: f"w{number}"),
    "Cors.methods": lambda value, number: "M" * (number + 1),
    "Cors.origins": lambda value, number: "https://" + "*." * ("*." in value) + f"o{number}",
    "Endpoint.address": lambda value, number: f"10.{number // 62500}.{number // 250 % 250}.{1 + number % 250}",
    **dict.fromkeys(
        ("Access.allow", "Access.deny"),
        lambda value, number: (
            value if value == "all" else f"10.{number // 62500}.{number // 250 % 250}.{number % 250}/32"
        ),
    ),
    "User.password": lambda value, number: f"$5${number:08d}",
}


class Twin:
    """A model of the same shape, whose strings mean nothing to anybody. Equal strings stay equal, different ones different."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, value: Any, kind: str = "") -> Any:
        if isinstance(value, str):
            if value in ("", "/", "*") or kind not in HARMLESS:
                return value
            return HARMLESS[kind](value, self.numbers.setdefault(value, len(self.numbers)))
        if isinstance(value, tuple):
            return tuple(self.of(one, kind) for one in value)
        if isinstance(value, Mapping):
            return {self.of(name, "Service.name"): self.of(one) for name, one in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            name = type(value).__name__
            return replace(
                value, **{one.name: self.of(getattr(value, one.name), f"{name}.{one.name}") for one in fields(value)}
            )
        return value


def shape(directive: Directive) -> tuple[object, ...]:
    """Names of directives and how many words each has, in whatever order."""
    values = directive.name in ("map", "geo")  # whose entries begin with a value
    below = sorted(((("", *shape(one)[1:]) if values else shape(one)) for one in directive.block or []), key=repr)
    return (directive.name, 1 if directive.lua else len(directive.words), *below)


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


# Keys that show in a configuration only beside another one.
COMPANIONS = {
    "DROMOS_EDGE_HASH_KEY": {"DROMOS_EDGE_BALANCE": "hash"},
    "DROMOS_EDGE_AUTH_REALM": {"DROMOS_EDGE_AUTH": "bob:$2y$05$0123456789abcdef"},
    "DROMOS_EDGE_RATE_BURST": {"DROMOS_EDGE_RATE": "1/s"},
    "DROMOS_EDGE_CORS_": {"DROMOS_EDGE_CORS": "https://a.example.org"},
    "DROMOS_EDGE_CANARY_": {"DROMOS_EDGE_CANARY_OF": "web"},
    "DROMOS_EDGE_PORT": {"DROMOS_EDGE_PROTOCOL": "tcp"},
}


def each_key_with_each_fragment() -> dict[str, tuple[Instance, ...]]:
    """A service for each: a good value of that key with that fragment in it, and another one with it behind."""
    found = {"web": (Instance("web", "web", "10.0.0.1", 80, meta={"HAPROXY_0_VHOST": "web.test"}),)}
    for number, fragment in enumerate(FRAGMENTS):
        name, app, address = f"named{number}{fragment}x", f"app{number}", f"address{number}"
        found[name] = (Instance(name, name, "10.0.0.1", 80, meta={"dromos-app": f"/named{number}"}),)
        found[app] = (Instance(app, app, "10.0.0.1", 80, meta={"dromos-app": f"/a{fragment}b"}),)
        found[address] = (Instance(address, address, f"10.0.0.1{fragment}", 80, meta={"dromos-app": f"/{address}"}),)
    for key, values in GOOD.items():
        companions: dict[str, str] = {}
        for beginning, more in COMPANIONS.items():
            companions |= more if key.startswith(beginning) and key not in more else {}
        for fragment in FRAGMENTS:
            middle = len(values[0]) // 2
            before = [fragment + values[0]] if ":" in values[0] else []
            for value in (values[0][:middle] + fragment + values[0][middle:], values[-1] + fragment, *before):
                name = f"s{len(found)}"
                hosts = {} if key.endswith(("_HOSTS", "_VHOST")) else {"DROMOS_EDGE_HOSTS": f"{name}.test"}
                found[name] = (Instance(name, name, "10.0.0.1", 80, meta={**hosts, **companions, key: value}),)
    return found


@pytest.mark.parametrize("lua", [True, False], ids=["with Lua", "plain"])
def test_no_fragment_in_any_value_changes_the_structure_of_nginx_conf(lua: bool) -> None:
    model, around = model_of(each_key_with_each_fragment()), surroundings(Path("/x"), lua=lua, tls=True)
    assert len(model.routes) > 1000
    assert shape(parse(nginx_conf.render(model, around))) == shape(parse(nginx_conf.render(Twin().of(model), around)))
    for name, text in nginx_conf.user_files(model).items():
        assert re.fullmatch(r"(bob:[^:\s]+\n)+", text), name


def test_no_fragment_in_any_value_changes_the_structure_of_haproxys_configuration() -> None:
    model = haproxy_model_of(each_key_with_each_fragment())
    harmless = Twin().of(model)
    assert len(model.routes) > 1000
    around = HaproxySurroundings(Layout(Path("/x")), surroundings(Path("/x"), tls=True).listen, Tuning())
    assert haproxy_shape(haproxy_conf.render(model, around)) == haproxy_shape(haproxy_conf.render(harmless, around))
    for name, text in haproxy_conf.maps(model).items():
        assert map_shape(text) == map_shape(haproxy_conf.maps(harmless)[name])


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


def with_certificates(layout: Layout) -> None:
    process.prepare(layout)
    placeholder = certificates.placeholder(layout.placeholder)
    certificates.write(certificates.Bundle({}, {}), layout.tls, placeholder)
    for name in AUTHORITIES:
        (layout.authorities / name).write_bytes(layout.placeholder.read_bytes())


@pytest.mark.parametrize("lua", [True, False], ids=["with Lua", "plain"])
def test_nginx_takes_every_model(tmp_path_factory: pytest.TempPathFactory, program: str, lua: bool) -> None:
    around = surroundings(tmp_path_factory.mktemp("edge"), lua=lua, tls=True)
    with_certificates(around.layout)

    @given(catalogs())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(services: dict[str, tuple[Instance, ...]]) -> None:
        files.write_atomically(around.layout.config, nginx_conf.render(model_of(services), around))
        process.check(around.layout, program, around.layout.config)

    check()


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
        files.write_atomically(layout.haproxy_config, haproxy_conf.render(model, around))
        for name, text in haproxy_conf.maps(model).items():
            files.write_atomically(layout.haproxy_map(name), text)
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
