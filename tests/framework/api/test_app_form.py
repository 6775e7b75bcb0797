# ruff: noqa: E501  the rows of a table stay on one line
"""An app as clients write it becomes one canonical form, or an answer that names everything that is wrong."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.errors import ApiError, InvalidJsonError, InvalidObjectError
from framework.api.forms import app_form
from framework.api.forms.app_form import Defaults
from framework.model.codec import to_json

DEFAULTS = Defaults()
CMD = {"id": "/a", "cmd": "sleep 1"}
IMAGE = {"id": "/a", "container": {"docker": {"image": "nginx"}}}


def canonical(document: dict[str, Any], defaults: Defaults = DEFAULTS) -> dict[str, Any]:
    return to_json(app_form.new_app(document, defaults))


def errors_of(document: object, defaults: Defaults = DEFAULTS) -> dict[str, list[str]]:
    with pytest.raises(ApiError) as caught:
        app_form.new_app(document, defaults)
    assert caught.value.status == 422
    return {item["path"]: item["errors"] for item in caught.value.body["details"]}


def part(document: dict[str, Any], expected: Any) -> Any:
    """The part of `document` that `expected` speaks of."""
    if isinstance(expected, dict):
        return {key: part(document[key], value) for key, value in expected.items() if key in document}
    return document


# --- defaults

DEFAULT_FIELDS = {
    "cpus": 1,
    "mem": 128,
    "disk": 0,
    "gpus": 0,
    "instances": 1,
    "backoffSeconds": 1,
    "backoffFactor": 1.15,
    "maxLaunchDelaySeconds": 300,
    "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
    "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
    "killSelection": "YOUNGEST_FIRST",
    "role": "*",
    "executor": "",
    "networks": [{"mode": "host"}],
    "portDefinitions": [{"port": 0, "protocol": "tcp", "name": "default", "labels": {}}],
    "requirePorts": False,
    "env": {},
    "labels": {},
    "constraints": [],
    "dependencies": [],
    "fetch": [],
    "healthChecks": [],
    "readinessChecks": [],
}


@pytest.mark.parametrize("field", DEFAULT_FIELDS)
def test_a_field_that_is_not_given_has_marathons_default(field: str) -> None:
    assert canonical(CMD)[field] == DEFAULT_FIELDS[field]


def test_what_has_no_default_is_left_out() -> None:
    left_out = {"args", "user", "container", "check", "taskKillGracePeriodSeconds", "tty", "acceptedResourceRoles"}
    assert not left_out & set(canonical(CMD))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"upgradeStrategy": {"minimumHealthCapacity": 0.5}}, {"upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 1}}),
        ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}}, {"upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}}),
        ({"killSelection": "OldestFirst"}, {"killSelection": "OLDEST_FIRST"}),
        ({"fetch": [{"uri": "http://x/y.tgz"}]}, {"fetch": [{"uri": "http://x/y.tgz", "extract": True, "executable": False, "cache": False}]}),
        ({"executorResources": {"cpus": 1}}, {"executorResources": {"cpus": 1, "mem": 32, "disk": 10}}),
        ({"check": {"exec": {"command": {"shell": "true"}}}}, {"check": {"delaySeconds": 15, "intervalSeconds": 60, "timeoutSeconds": 20}}),
        ({"portDefinitions": [{"name": "http-api"}], "readinessChecks": [{}]}, {"readinessChecks": [{"name": "readinessCheck", "protocol": "HTTP", "path": "/", "portName": "http-api", "intervalSeconds": 30, "timeoutSeconds": 10, "httpStatusCodesForReady": [200], "preserveLastResponse": False}]}),
        ({"healthChecks": [{}]}, {"healthChecks": [{"protocol": "HTTP", "path": "/", "portIndex": 0, "gracePeriodSeconds": 300, "intervalSeconds": 60, "timeoutSeconds": 20, "maxConsecutiveFailures": 3, "delaySeconds": 15, "ignoreHttp1xx": False, "ipProtocol": "IPv4"}]}),
        ({"resourceLimits": {"cpus": "unlimited", "mem": 256}}, {"resourceLimits": {"cpus": "unlimited", "mem": 256}}),
        ({"constraints": [["hostname", "MAX_PER", 2]]}, {"constraints": [["hostname", "MAX_PER", "2"]]}),
        ({"instances": 3.0}, {"instances": 3}),
        ({"cpus": None, "container": None, "env": None}, {"cpus": 1, "env": {}}),
        ({"labels": {"a": "", "b": None}}, {"labels": {"a": ""}}),
        ({"unknownField": 1, "residency": {"taskLostBehavior": "WAIT_FOREVER"}}, {"cpus": 1}),
    ],
)  # fmt: skip
def test_defaults_that_depend_on_what_is_given(given: dict[str, Any], expected: dict[str, Any]) -> None:
    app = canonical(CMD | given)
    assert {key: part(app[key], value) for key, value in expected.items()} == expected


@pytest.mark.parametrize(
    ("volume", "upgrade", "unreachable"),
    [
        ({"containerPath": "data", "persistent": {"size": 10}}, (0.5, 0), "disabled"),
        ({"containerPath": "/d", "external": {"provider": "dvdi", "name": "v", "options": {"dvdi/driver": "rexray"}}}, (0.5, 0), {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}),
        ({"containerPath": "/d", "hostPath": "/d"}, (1, 1), {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}),
    ],
)  # fmt: skip
def test_apps_with_volumes_of_their_own_are_replaced_in_place(
    volume: dict[str, Any], upgrade: tuple[float, float], unreachable: object
) -> None:
    app = canonical(CMD | {"container": {"type": "MESOS", "volumes": [volume]}})
    assert app["upgradeStrategy"] == {"minimumHealthCapacity": upgrade[0], "maximumOverCapacity": upgrade[1]}
    assert app["unreachableStrategy"] == unreachable
    assert app["container"]["volumes"][0]["mode"] == "RW"


def test_a_container_always_has_volumes() -> None:
    assert canonical(IMAGE)["container"]["volumes"] == []
    assert canonical(IMAGE)["container"]["type"] == "DOCKER"


# --- legacy spellings

BRIDGE = [{"mode": "container/bridge", "labels": {}}]
MAPPING = {"containerPort": 80, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "labels": {}}


@pytest.mark.parametrize(
    ("given", "networks", "ports"),
    [
        # container.docker.network and portMappings, as before 1.5
        ({"container": {"docker": {"image": "x", "network": "BRIDGE", "portMappings": [{"containerPort": 80}]}}}, [{"mode": "container/bridge"}], [MAPPING]),
        ({"container": {"docker": {"image": "x", "network": "BRIDGE", "portMappings": []}}}, [{"mode": "container/bridge"}], []),
        ({"container": {"docker": {"image": "x", "network": "BRIDGE"}}}, [{"mode": "container/bridge"}], [{"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "name": "default", "labels": {}}]),
        ({"container": {"docker": {"image": "x", "network": "BRIDGE"}}, "ports": [0, 0]}, [{"mode": "container/bridge"}], [{"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "name": "default", "labels": {}}, {"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "labels": {}}]),
        ({"container": {"docker": {"image": "x", "network": "USER", "portMappings": [{"containerPort": 80}]}}, "ipAddress": {"networkName": "dcos"}}, [{"mode": "container", "name": "dcos"}], [{k: v for k, v in MAPPING.items() if k != "hostPort"}]),
        ({"container": {"docker": {"image": "x", "network": "HOST"}}}, [{"mode": "host"}], None),
        ({"container": {"docker": {"image": "x", "network": "BRIDGE", "portMappings": [{"containerPort": 53, "protocol": "tcp,udp"}]}}}, [{"mode": "container/bridge"}], [MAPPING | {"containerPort": 53, "protocol": "udp,tcp"}]),
        # ipAddress
        ({"cmd": "x", "ipAddress": {"networkName": "dcos", "labels": {"a": "b"}, "discovery": {"ports": [{"number": 80, "name": "http", "protocol": "tcp"}]}}}, [{"mode": "container", "name": "dcos", "labels": {"a": "b"}}], [{"containerPort": 80, "servicePort": 0, "protocol": "tcp", "name": "http", "labels": {}}]),
        ({"cmd": "x", "ipAddress": {"networkName": "mesos-bridge"}}, [{"mode": "container/bridge"}], [{"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "name": "default", "labels": {}}]),
        # canonical ones
        ({"container": {"docker": {"image": "x"}, "portMappings": [{"containerPort": 80}]}, "networks": [{"mode": "container/bridge"}]}, [{"mode": "container/bridge"}], [MAPPING]),
        ({"container": {"docker": {"image": "x"}, "portMappings": [{"containerPort": 80, "hostPort": 0}]}, "networks": [{"mode": "container", "name": "n"}]}, [{"mode": "container", "name": "n"}], [MAPPING]),
        ({"cmd": "x", "networks": [{"mode": "container/bridge"}]}, [{"mode": "container/bridge"}], [{"containerPort": 0, "hostPort": 0, "servicePort": 0, "protocol": "tcp", "name": "default", "labels": {}}]),
        ({"container": {"docker": {"image": "x"}, "portMappings": [{"containerPort": 80}]}}, [{"mode": "host"}], None),
    ],
)  # fmt: skip
def test_every_spelling_of_networks_becomes_the_canonical_one(
    given: dict[str, Any], networks: object, ports: object
) -> None:
    app = canonical({"id": "/a"} | given)
    assert app["networks"] == networks
    assert (app.get("container") or {}).get("portMappings") == ports
    assert ("portDefinitions" in app) == (ports is None)
    assert "network" not in (app.get("container") or {}).get("docker", {})
    assert canonical(app) == app


@pytest.mark.parametrize(
    ("given", "definitions"),
    [
        ({"ports": [0, 8080]}, [(0, None), (8080, None)]),
        ({"ports": []}, []),
        ({"portDefinitions": []}, []),
        ({"ports": [80], "portDefinitions": [{"port": 80, "name": "http"}]}, [(80, "http")]),
        ({"portDefinitions": [{"port": 80, "name": "http"}, {}]}, [(80, "http"), (0, None)]),
    ],
)
def test_ports_become_port_definitions(given: dict[str, Any], definitions: list[Any]) -> None:
    assert [(d["port"], d.get("name")) for d in canonical(CMD | given)["portDefinitions"]] == definitions


def test_uris_become_artifacts_and_archives_are_extracted() -> None:
    fetch = canonical(CMD | {"uris": ["http://x/a.tar.gz", "http://x/b.json"]})["fetch"]
    assert [(f["uri"], f["extract"]) for f in fetch] == [("http://x/a.tar.gz", True), ("http://x/b.json", False)]


def test_require_ports_holds_for_host_networking_only() -> None:
    assert canonical(CMD | {"requirePorts": True})["requirePorts"] is True
    assert canonical(CMD | {"requirePorts": True, "networks": [{"mode": "container/bridge"}]})["requirePorts"] is False


def test_a_container_network_without_name_takes_the_operators_default() -> None:
    defaults = Defaults(network_name="overlay")
    assert canonical(CMD | {"networks": [{"mode": "container"}]}, defaults)["networks"] == [
        {"mode": "container", "name": "overlay"}
    ]
    assert errors_of(CMD | {"networks": [{"mode": "container"}]}) == {
        "/networks": ["Network name must be specified when container network is selected."]
    }


@pytest.mark.parametrize(
    ("app_id", "expected"), [("a", "/a"), ("//demo", "/demo"), ("/a/b/", "/a/b"), ("g/../b", "/b")]
)
def test_ids_become_absolute(app_id: str, expected: str) -> None:
    assert canonical(CMD | {"id": app_id})["id"] == expected


def test_dependencies_count_from_the_apps_group() -> None:
    app = canonical({"id": "/prod/web", "cmd": "x", "dependencies": ["db", "../other", "/abs"]})
    assert app["dependencies"] == ["/prod/db", "/other", "/abs"]


# --- types


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        ({"id": 1}, "/id", "error.expected.jsstring"),
        ({}, "/id", "error.path.missing"),
        ([], "/", "error.expected.jsobject"),
        (CMD | {"cpus": "1"}, "/cpus", "error.expected.jsnumber"),
        (CMD | {"instances": 1.5}, "/instances", "error.expected.int"),
        (CMD | {"instances": True}, "/instances", "error.expected.jsnumber"),
        (CMD | {"args": "x"}, "/args", "error.expected.jsarray"),
        (CMD | {"ports": [0, "x"]}, "/ports(1)", "error.expected.jsnumber"),
        (CMD | {"requirePorts": "yes"}, "/requirePorts", "error.expected.jsboolean"),
        (CMD | {"labels": {"a": 1}}, "/labels/a", "error.expected.jsstring"),
        (CMD | {"env": {"A": 1}}, "/env/A", "error.expected.jsstring"),
        (CMD | {"env": {"A": {}}}, "/env/A/secret", "error.path.missing"),
        (CMD | {"container": []}, "/container", "error.expected.jsobject"),
        (CMD | {"container": {"docker": {}}}, "/container/docker/image", "error.path.missing"),
        (CMD | {"networks": [{"mode": "x"}]}, "/networks(0)/mode", "error.unknown.enum.literal"),
        (CMD | {"healthChecks": [{"protocol": "FTP"}]}, "/healthChecks(0)/protocol", "error.unknown.enum.literal"),
        (CMD | {"unreachableStrategy": "never"}, "/unreachableStrategy", "error.unknown.enum.literal"),
        (CMD | {"unreachableStrategy": 3}, "/unreachableStrategy", "error.expected.jsobject"),
        (CMD | {"killSelection": "RANDOM"}, "/killSelection", "error.unknown.enum.literal"),
        (CMD | {"resourceLimits": {"cpus": "lots"}}, "/resourceLimits/cpus", "error.unknown.enum.literal"),
        (CMD | {"portDefinitions": [{"protocol": "sctp"}]}, "/portDefinitions(0)/protocol", "error.unknown.enum.literal"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_named_with_its_path(document: object, path: str, code: str) -> None:
    with pytest.raises(InvalidJsonError) as caught:
        app_form.new_app(document, DEFAULTS)
    assert caught.value.body == {"message": "Invalid JSON", "details": [{"path": path, "errors": [code]}]}


# --- rules

NEITHER = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."
PORT_INDEX = "Health check port indices must address an element of the ports array or container port mappings."
ID = "must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$'"
BRIDGED = {"id": "/a", "networks": [{"mode": "container/bridge"}]}
ONE_OF = "May specify a single host network, single bridge network, or else 1-to-n container networks"
OPERATORS = "Constraint operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS"


def volumes(*volume: dict[str, Any], **more: Any) -> dict[str, Any]:
    return CMD | {"container": {"type": "MESOS", "volumes": list(volume)}} | more


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        # id
        (CMD | {"id": "/A"}, "/id", ID),
        (CMD | {"id": "/a_b"}, "/id", ID),
        (CMD | {"id": "/-a"}, "/id", ID),
        (CMD | {"id": "/"}, "/id", "Path must contain at least one path element"),
        (CMD | {"id": "/a/restart"}, "/id", "must not end with any of the following: restart, tasks, versions, ., .."),
        (CMD | {"id": "/a/tasks"}, "/id", "must not end with any of the following: restart, tasks, versions, ., .."),
        (CMD | {"id": "/a/versions"}, "/id", "must not end with any of the following: restart, tasks, versions, ., .."),
        (CMD | {"dependencies": ["/A B"]}, "/dependencies(0)", ID),
        # cmd, args
        ({"id": "/a"}, "/", NEITHER),
        (CMD | {"args": ["x"]}, "/", NEITHER),
        ({"id": "/a", "container": {"type": "MESOS"}}, "/", NEITHER),
        (IMAGE | {"cmd": "x", "args": ["y"]}, "/", NEITHER),
        (CMD | {"cmd": "a\0b"}, "/cmd", "must not contain a NUL character"),
        # resources
        (CMD | {"cpus": -1}, "/cpus", "got -1, expected 0 or more"),
        (CMD | {"mem": -0.5}, "/mem", "got -0.5, expected 0 or more"),
        (CMD | {"disk": -1}, "/disk", "got -1, expected 0 or more"),
        (CMD | {"gpus": -1}, "/gpus", "got -1, expected 0 or more"),
        (IMAGE | {"gpus": 1}, "/", "GPU resources only work with the Mesos containerizer"),
        (CMD | {"instances": -1}, "/instances", "got -1, expected between 0 and 100000"),
        (CMD | {"resourceLimits": {"mem": 64}}, "/resourceLimits/mem", "Resource limit must be greater than or equal to requested value (128)"),
        (CMD | {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2}, "/", "Single instance app may only have one instance"),
        (CMD | {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "upgradeStrategy": {"maximumOverCapacity": 1}}, "/upgradeStrategy/maximumOverCapacity", "got 1.0, expected 0.0"),
        # strategies
        (CMD | {"backoffSeconds": -1}, "/backoffSeconds", "got -1, expected 0 or more"),
        (CMD | {"backoffFactor": 0.5}, "/backoffFactor", "got 0.5, expected 1 or more"),
        (CMD | {"maxLaunchDelaySeconds": -1}, "/maxLaunchDelaySeconds", "got -1, expected 0 or more"),
        (CMD | {"upgradeStrategy": {"minimumHealthCapacity": 1.5}}, "/upgradeStrategy/minimumHealthCapacity", "got 1.5, expected between 0 and 1"),
        (CMD | {"upgradeStrategy": {"maximumOverCapacity": -0.1}}, "/upgradeStrategy/maximumOverCapacity", "got -0.1, expected between 0 and 1"),
        (CMD | {"unreachableStrategy": {"inactiveAfterSeconds": 5, "expungeAfterSeconds": 1}}, "/unreachableStrategy", "inactiveAfterSeconds must be less than or equal to expungeAfterSeconds"),
        (CMD | {"taskKillGracePeriodSeconds": -1}, "/taskKillGracePeriodSeconds", "got -1, expected 0 or more"),
        (CMD | {"executor": "a//b"}, "/executor", "must fully match regular expression '^(//cmd)|(/?[^/]+(/[^/]+)*)|$'"),
        # roles
        (CMD | {"acceptedResourceRoles": []}, "/acceptedResourceRoles", "must not be empty"),
        (CMD | {"acceptedResourceRoles": ["x"]}, "/acceptedResourceRoles", "acceptedResourceRoles can only contain * and *, but contains: x"),
        (CMD | {"role": "x"}, "/role", "got x, expected one of: [*]"),
        (CMD | {"id": "/prod/a", "role": "dev"}, "/role", "got dev, expected one of: [*, prod]"),
        # constraints
        (CMD | {"constraints": [["hostname"]]}, "/constraints(0)", "Each constraint must have either 2 or 3 fields"),
        (CMD | {"constraints": [["a", "b", "c", "d"]]}, "/constraints(0)", "Each constraint must have either 2 or 3 fields"),
        (CMD | {"constraints": [["hostname", "NEAR"]]}, "/constraints(0)", OPERATORS),
        (CMD | {"constraints": [["hostname", "UNIQUE", "x"]]}, "/constraints(0)", "Value specified but not used"),
        (CMD | {"constraints": [["rack", "GROUP_BY", "x"]]}, "/constraints(0)", "Value was specified but is not a number"),
        (CMD | {"constraints": [["rack", "MAX_PER"]]}, "/constraints(0)", "Value was not specified or is not a number"),
        (CMD | {"constraints": [["rack", "LIKE"]]}, "/constraints(0)", "A regular expression value must be provided"),
        (CMD | {"constraints": [["rack", "UNLIKE", "("]]}, "/constraints(0)", "'(' is not a valid regular expression"),
        (CMD | {"constraints": [["rack", "IS"]]}, "/constraints(0)", "Missing value"),
        # artifacts, secrets, environment
        (CMD | {"fetch": [{"uri": "a b"}]}, "/fetch(0)/uri", "URI has invalid syntax."),
        (CMD | {"fetch": [{"uri": ""}]}, "/fetch(0)/uri", "must not be empty"),
        (CMD | {"uris": ["http://x"], "fetch": [{"uri": "http://y"}]}, "/uris", "may not be set in conjunction with fetch"),
        (CMD | {"env": {"A": {"secret": "s"}}}, "/env/A/secret", "references an undefined secret named 's'"),
        (CMD | {"env": {"A=B": "x"}}, "/env/A=B", "a name must not contain '=' or a NUL character"),
        (CMD | {"env": {"": "x"}}, "/env", "name '' has size 0, expected between 1 and 254"),
        (CMD | {"secrets": {"s": {"source": ""}}}, "/secrets/s/source", "must not be empty"),
        # labels
        (CMD | {"labels": {"DROMOS_DEPLOYMENT_DEADLINE": "soon"}}, "/labels/DROMOS_DEPLOYMENT_DEADLINE", "got 'soon', expected a number of seconds"),
        (CMD | {"labels": {"DROMOS_DRAIN_UNTIL": "later"}}, "/labels/DROMOS_DRAIN_UNTIL", "got 'later', expected one of: time, idle"),
        (CMD | {"labels": {"DROMOS_DRAIN_SECONDS": "-1"}}, "/labels/DROMOS_DRAIN_SECONDS", "got '-1', expected a number of seconds"),
        (CMD | {"labels": {"DROMOS_DEPLOYMENT_ON_FAILURE": "cry"}}, "/labels/DROMOS_DEPLOYMENT_ON_FAILURE", "got 'cry', expected one of: stop, rollback"),
        (CMD | {"labels": {"DROMOS_PLACEMENT": "random"}}, "/labels/DROMOS_PLACEMENT", "got 'random', expected one of: binpack, spread"),
        # networks
        (CMD | {"networks": [{"mode": "host", "name": "n"}]}, "/networks", "Host networks may not have names or labels"),
        (CMD | {"networks": [{"mode": "container/bridge", "name": "n"}]}, "/networks", "Bridge networks may not have names"),
        (CMD | {"networks": [{"mode": "host"}, {"mode": "container/bridge"}]}, "/networks", ONE_OF),
        (CMD | {"networks": [{"mode": "host"}, {"mode": "host"}]}, "/networks", ONE_OF),
        (CMD | {"networks": [{"mode": "container", "name": "n"}, {"mode": "container", "name": "n"}]}, "/networks", "Duplicate networks are not allowed"),
        (IMAGE | {"networks": [{"mode": "container", "name": "n"}, {"mode": "container", "name": "m"}]}, "/", "may only specify a single container network when using the Docker container engine"),
        (IMAGE | {"container": {"docker": {"image": "x", "network": "NONE"}}}, "/container/docker/network", "unsupported docker network type NONE"),
        (IMAGE | {"container": {"docker": {"image": "x", "network": "HOST"}}, "networks": [{"mode": "host"}]}, "/", "must not specify both container.docker.network and networks"),
        (CMD | {"ipAddress": {}, "networks": [{"mode": "container", "name": "n"}]}, "/", "must not specify both networks and ipAddress"),
        (CMD | {"ipAddress": {"networkName": "n"}, "ports": [80]}, "/", "cannot specify both an IP address and port"),
        (IMAGE | {"ipAddress": {"networkName": "n", "discovery": {}}}, "/ipAddress", "ipAddress/discovery is not allowed for Docker containers"),
        # ports
        (CMD | {"ports": [80, 80]}, "/", "ports must be unique"),
        (CMD | {"ports": [80], "portDefinitions": [{"port": 81}]}, "/", "cannot specify both ports and port definitions"),
        (CMD | {"portDefinitions": [{"port": 80}, {"port": 80}]}, "/portDefinitions", "Ports must be unique."),
        (CMD | {"portDefinitions": [{"name": "a"}, {"name": "a"}]}, "/portDefinitions", "Port names must be unique."),
        (CMD | {"portDefinitions": [{"port": 70000}]}, "/portDefinitions(0)/port", "got 70000, expected between 0 and 65535"),
        (BRIDGED | {"container": {"docker": {"image": "x"}, "portMappings": [{"containerPort": -1}]}}, "/container/portMappings(0)/containerPort", "got -1, expected between 0 and 65535"),
        (BRIDGED | {"container": {"docker": {"image": "x"}, "portMappings": [{"name": "a"}, {"name": "a"}]}}, "/container/portMappings", "Port names must be unique."),
        (BRIDGED | {"container": {"docker": {"image": "x", "portMappings": [{}]}, "portMappings": [{}]}}, "/container", "cannot specify both portMappings and docker.portMappings"),
        (CMD | {"networks": [{"mode": "container", "name": "n"}, {"mode": "container", "name": "m"}], "container": {"type": "MESOS", "portMappings": [{"hostPort": 0}]}}, "/container/portMappings(0)", "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined"),
        (CMD | {"networks": [{"mode": "container", "name": "n"}], "container": {"type": "MESOS", "portMappings": [{"networkNames": ["x"]}]}}, "/container/portMappings(0)/networkNames", "must be one of the following: n"),
        # container
        (CMD | {"container": {"type": "DOCKER"}}, "/container/docker", "not defined"),
        (CMD | {"container": {"docker": {"image": ""}}}, "/container/docker/image", "must not be empty"),
        (CMD | {"container": {"docker": {"image": "x", "credential": {"principal": "p"}}}}, "/container/docker/credential", "must be empty"),
        (CMD | {"container": {"docker": {"image": "x", "pullConfig": {"secret": "s"}}}}, "/container/docker/pullConfig", "pullConfig is not supported with Docker containerizer"),
        (CMD | {"container": {"type": "MESOS", "docker": {"image": "x", "pullConfig": {"secret": "s"}}}}, "/container/docker/pullConfig", "pullConfig.secret must refer to an existing secret"),
        (CMD | {"container": {"type": "MESOS", "linuxInfo": {"ipcInfo": {"mode": "SHARE_PARENT", "shmSize": 5}}}}, "/container/linuxInfo/ipcInfo", "shmSize can only be set with the PRIVATE mode"),
        # volumes
        (volumes({"containerPath": "", "hostPath": "/x"}), "/container/volumes(0)/containerPath", "must not be empty"),
        (volumes({"containerPath": "/x"}), "/container/volumes(0)", "Unknown app volume type"),
        (volumes({"containerPath": "/x", "persistent": {"size": 1}}), "/container/volumes(0)/containerPath", 'value must not contain "/"'),
        (volumes({"containerPath": "x", "persistent": {"size": 1}, "mode": "RO"}), "/container/volumes(0)/mode", "got RO, expected RW"),
        (volumes({"containerPath": "x", "persistent": {"size": 0}}), "/container/volumes(0)/persistent/size", "got 0, expected more than 0"),
        (volumes({"containerPath": "x", "persistent": {"size": 5, "maxSize": 9}}), "/container/volumes(0)/persistent", "Only mount volumes can have maxSize"),
        (volumes({"containerPath": "x", "persistent": {"size": 5, "maxSize": 4, "type": "mount"}}), "/container/volumes(0)/persistent", "Max size must be larger than size"),
        (volumes({"containerPath": "x", "persistent": {"size": 5, "constraints": [["path", "LIKE", "x"]]}}), "/container/volumes(0)/persistent", "Constraints on root volumes are not supported"),
        (volumes({"containerPath": "x", "persistent": {"size": 5, "type": "path", "constraints": [["path", "UNIQUE", "x"]]}}), "/container/volumes(0)/persistent/constraints(0)", "Operator must be one of LIKE, UNLIKE"),
        (volumes({"containerPath": "x", "persistent": {"size": 5}}, upgradeStrategy={"maximumOverCapacity": 0.5}), "/upgradeStrategy/maximumOverCapacity", "got 0.5, expected 0.0"),
        (volumes({"containerPath": "x", "persistent": {"size": 5}}, unreachableStrategy={}), "/unreachableStrategy", "unreachableStrategy must be disabled for resident tasks"),
        (volumes({"containerPath": "x", "secret": "s"}), "/container/volumes(0)", "volume.secret must refer to an existing secret"),
        ({"id": "/a", "container": {"type": "DOCKER", "docker": {"image": "x"}, "volumes": [{"containerPath": "x", "secret": "s"}]}, "secrets": {"s": {"source": "file:s"}}}, "/container/volumes(0)", "volume.secret needs a container of type MESOS"),
        (volumes({"containerPath": "/x", "external": {"provider": "nfs", "name": "v"}}), "/container/volumes(0)/external/provider", "is unknown provider"),
        (volumes({"containerPath": "/x", "external": {"provider": "dvdi", "name": "v"}}), "/container/volumes(0)/external/options", "must define dvdi/driver"),
        (volumes({"containerPath": "/x", "external": {"provider": "csi", "name": "v"}}), "/container/volumes(0)/external/options", "must define pluginName"),
        (volumes({"containerPath": "/x", "external": {"provider": "dvdi", "name": "v", "options": {"dvdi/driver": "r"}}}, instances=2), "/instances", "got more than 1, expected 1 or less: an external volume that is not shared has one user"),
        # checks
        (CMD | {"healthChecks": [{"portIndex": 1}]}, "/healthChecks(0)", PORT_INDEX),
        (CMD | {"ports": [], "healthChecks": [{}]}, "/healthChecks(0)", PORT_INDEX),
        (CMD | {"healthChecks": [{"port": 80, "portIndex": 0}]}, "/healthChecks(0)", "Health check must specify either a port or a portIndex."),
        (CMD | {"healthChecks": [{"protocol": "COMMAND"}]}, "/healthChecks(0)", "Health check protocol must match supplied fields."),
        (CMD | {"healthChecks": [{"command": {"value": "true"}}]}, "/healthChecks(0)", "Health check protocol must match supplied fields."),
        (CMD | {"healthChecks": [{"intervalSeconds": -1}]}, "/healthChecks(0)/intervalSeconds", "got -1, expected 0 or more"),
        (CMD | {"healthChecks": [{"protocol": "MESOS_TCP"}, {"protocol": "MESOS_HTTP"}]}, "/", "AppDefinition can contain at most one Mesos health check"),
        (CMD | {"healthChecks": [{"ipProtocol": "IPv6"}]}, "/healthChecks(0)", "IPv6 can only be used for container type DOCKER and Mesos http/https/tcp health checks"),
        (CMD | {"check": {}}, "/check", "Only one of http, tcp, or command may be specified"),
        (CMD | {"check": {"tcp": {"portIndex": 3}}}, "/check/tcp/portIndex", PORT_INDEX),
        (CMD | {"readinessChecks": [{}]}, "/readinessChecks(0)/portName", "No port definition reference for portName http-api"),
        (CMD | {"readinessChecks": [{"portName": "default"}, {"portName": "default"}]}, "/readinessChecks", "got 2, expected 1 or less"),
        (CMD | {"readinessChecks": [{"portName": "default", "timeoutSeconds": 30}]}, "/readinessChecks(0)/timeoutSeconds", "got 30, expected less than 30"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_path(document: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        app_form.new_app(document, DEFAULTS)
    assert caught.value.body["message"] == "Object is not valid"
    assert {"path": path, "errors": [message]} in caught.value.body["details"]


def test_all_errors_are_told_at_once() -> None:
    assert set(errors_of({"id": "/A", "cpus": -1, "constraints": [["x"]], "requirePorts": True, "cmd": None})) == {
        "/", "/id", "/cpus", "/constraints(0)",
    }  # fmt: skip
    assert errors_of({"id": 5, "cpus": "x"}) == {
        "/id": ["error.expected.jsstring"],
        "/cpus": ["error.expected.jsnumber"],
    }


@pytest.mark.parametrize(
    "document",
    [
        CMD | {"id": "/my.app"},
        CMD | {"id": "/a/1"},
        {"id": "/a", "args": ["x"]},
        IMAGE,
        IMAGE | {"args": ["x"]},
        IMAGE | {"cmd": "x"},
        CMD | {"cmd": "w"},
        CMD | {"constraints": [["hostname", "UNIQUE"], ["rack", "CLUSTER"], ["rack", "CLUSTER", "a"], ["x", "GROUP_BY"], ["x", "GROUP_BY", "3"], ["x", "LIKE", "a.*"], ["x", "IS", "5.0"]]},
        {"id": "/prod/a", "cmd": "x", "role": "prod", "acceptedResourceRoles": ["*", "prod"]},
        CMD | {"executor": "//cmd"},
        CMD | {"healthChecks": [{"protocol": "COMMAND", "command": {"value": "true"}}]},
        CMD | {"ports": [0, 0], "healthChecks": [{"portIndex": 1}, {"port": 8080, "protocol": "TCP"}]},
        volumes({"containerPath": "x", "persistent": {"size": 5, "type": "mount", "maxSize": 9}}),
        CMD | {"env": {"S": {"secret": "s"}}, "secrets": {"s": {"source": "a/b"}}},
        CMD | {"networks": [{"mode": "container", "name": "n"}, {"mode": "container", "name": "m"}], "container": {"type": "MESOS", "portMappings": [{"hostPort": 0, "networkNames": ["n"]}]}},
        CMD | {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 0},
    ],
)  # fmt: skip
def test_what_marathon_accepts_is_accepted_and_is_a_fixed_point(document: dict[str, Any]) -> None:
    once = canonical(document)
    assert canonical(once) == once


# --- hostile input

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted(set(DEFAULT_FIELDS) | {"id", "cmd", "args", "container", "ports", "uris", "ipAddress", "check", "secrets", "resourceLimits", "acceptedResourceRoles"})  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5))
def test_no_json_is_answered_by_anything_but_an_app_or_a_422(document: dict[str, Any]) -> None:
    try:
        app = app_form.new_app(CMD | document, DEFAULTS)
    except (InvalidJsonError, InvalidObjectError) as error:
        assert error.body["details"]
    else:
        assert app_form.new_app(to_json(app), DEFAULTS) == app
