"""What Consul may say to the edge: services with good labels, nearly good ones, and hostile ones."""

from types import MappingProxyType

from hypothesis import strategies as st

from nginx.model import Instance

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
