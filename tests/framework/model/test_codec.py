"""Declared values survive their JSON; the JSON has Marathon's names and forms."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model.app import App, Fetch, Secret, SecretRef, VersionInfo
from framework.model.codec import from_json, to_json
from framework.model.constraint import OPERATORS, Constraint
from framework.model.container import Container, DockerContainer, Parameter
from framework.model.group import Group
from framework.model.health import Check, ExecCheck, HealthCheck, MesosCommand, ReadinessCheck
from framework.model.network import Endpoint, Network, PortDefinition, PortMapping
from framework.model.pod import Image, MesosExec, Pod, PodContainer
from framework.model.resources import UNLIMITED, ExecutorResources, ResourceLimits, Resources
from framework.model.strategy import UnreachableDisabled, UnreachableStrategy, UpgradeStrategy
from framework.model.values import FrozenMap
from framework.model.volume import (
    ExternalInfo,
    ExternalVolume,
    HostVolume,
    PersistentInfo,
    PersistentVolume,
    PodVolume,
    SecretVolume,
    VolumeMount,
)

text = st.text(max_size=8)
labels = st.dictionaries(text, text, max_size=3).map(FrozenMap)
amount = st.floats(0, 1e6, allow_nan=False)
limit = st.none() | amount | st.just(UNLIMITED)
ports = st.integers(0, 65535)


def tuples(of: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(of, max_size=3).map(tuple)


constraints = tuples(st.builds(Constraint, text, st.sampled_from(OPERATORS), st.none() | text))
volumes = tuples(
    st.builds(HostVolume, text, text)
    | st.builds(PersistentVolume, text, st.builds(PersistentInfo, st.integers(0, 99), constraints=constraints))
    | st.builds(ExternalVolume, text, st.builds(ExternalInfo, text, options=labels))
    | st.builds(SecretVolume, text, text)
)
unreachable = st.just(UnreachableDisabled()) | st.builds(UnreachableStrategy)
version_info = st.none() | st.builds(VersionInfo, text, text)
env = st.dictionaries(text, text | st.builds(SecretRef, text), max_size=3).map(FrozenMap)
host_apps = st.builds(
    App,
    id=text,
    cmd=st.none() | text,
    args=tuples(text),
    env=env,
    cpus=amount,
    mem=amount,
    resource_limits=st.none() | st.builds(ResourceLimits, limit, limit),
    constraints=constraints,
    fetch=tuples(st.builds(Fetch, text)),
    secrets=st.dictionaries(text, st.builds(Secret, text), max_size=2).map(FrozenMap),
    port_definitions=tuples(st.builds(PortDefinition, ports, labels=labels)),
    container=st.none() | st.builds(Container, docker=st.none() | st.builds(DockerContainer, text), volumes=volumes),
    health_checks=tuples(st.builds(HealthCheck, ignore_http1xx=st.booleans(), port=st.none() | ports)),
    check=st.none() | st.builds(Check, exec=st.builds(ExecCheck, st.builds(MesosCommand, argv=tuples(text)))),
    readiness_checks=tuples(st.builds(ReadinessCheck)),
    unreachable_strategy=unreachable,
    version=text,
    version_info=version_info,
)
bridge_apps = st.builds(
    App,
    id=text,
    networks=st.just((Network("container/bridge"),)),
    container=st.builds(
        Container,
        docker=st.builds(DockerContainer, text, parameters=tuples(st.builds(Parameter, text, text))),
        port_mappings=tuples(st.builds(PortMapping, ports, st.none() | ports, ports, labels=labels)),
    ),
)
pods = st.builds(
    Pod,
    id=text,
    containers=tuples(
        st.builds(
            PodContainer,
            text,
            st.builds(Resources, amount, amount),
            exec=st.none() | st.builds(MesosExec, st.builds(MesosCommand, text)),
            endpoints=tuples(st.builds(Endpoint, text, protocol=tuples(text))),
            image=st.none() | st.builds(Image, text, labels=labels),
            environment=env,
            volume_mounts=tuples(st.builds(VolumeMount, text, text)),
        )
    ),
    volumes=tuples(st.builds(PodVolume, text, st.none() | text)),
    instances=st.integers(0, 99),
    backoff_seconds=amount,
    upgrade_strategy=st.builds(UpgradeStrategy, amount, amount),
    unreachable_strategy=unreachable,
    constraints=constraints,
    executor_resources=st.builds(ExecutorResources, amount),
    version=text,
    version_info=version_info,
)
groups = st.builds(Group, text, tuples(text), st.none() | st.booleans(), text)


@given(host_apps | bridge_apps | pods | groups)
def test_a_declared_value_survives_its_json(value: App | Pod | Group) -> None:
    again = from_json(type(value), orjson.loads(orjson.dumps(to_json(value))))
    assert again == value
    assert hash(again) == hash(value)


def test_an_app_is_written_in_marathons_canonical_form() -> None:
    app = App(
        "/web",
        cmd="sleep 1",
        constraints=(Constraint("hostname", "MAX_PER", "2"),),
        port_definitions=(PortDefinition(10000, name="http"),),
    )
    assert to_json(app) == {
        "id": "/web",
        "cmd": "sleep 1",
        "env": {},
        "instances": 1,
        "cpus": 1,
        "mem": 128,
        "disk": 0,
        "gpus": 0,
        "executor": "",
        "constraints": [["hostname", "MAX_PER", "2"]],
        "role": "*",
        "fetch": [],
        "networks": [{"mode": "host"}],
        "portDefinitions": [{"port": 10000, "protocol": "tcp", "name": "http", "labels": {}}],
        "requirePorts": False,
        "healthChecks": [],
        "readinessChecks": [],
        "dependencies": [],
        "labels": {},
        "backoffSeconds": 1,
        "backoffFactor": 1.15,
        "maxLaunchDelaySeconds": 300,
        "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
        "killSelection": "YOUNGEST_FIRST",
    }


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (App("/a", unreachable_strategy=UnreachableDisabled()), {"unreachableStrategy": "disabled"}),
        (App("/a", resource_limits=ResourceLimits(UNLIMITED, 512.0)), {"resourceLimits": {"cpus": "unlimited", "mem": 512}}),
        (App("/a", container=Container()), {"container": {"type": "DOCKER", "volumes": []}}),
        (App("/a", env=FrozenMap(A="b", S=SecretRef("s"))), {"env": {"A": "b", "S": {"secret": "s"}}}),
        (Pod("/p", instances=3), {"scaling": {"kind": "fixed", "instances": 3}}),
    ],
)  # fmt: skip
def test_what_is_spelled_in_a_way_of_its_own(value: App | Pod, document: dict[str, object]) -> None:
    written = to_json(value)
    assert {key: written[key] for key in document} == document


def test_ports_are_told_in_one_place_only() -> None:
    docker = Container(docker=DockerContainer("nginx"))
    assert "portMappings" not in to_json(App("/a", container=docker))["container"]
    bridged = to_json(App("/a", container=docker, networks=(Network("container/bridge"),)))
    assert "portDefinitions" not in bridged
    assert bridged["container"]["portMappings"] == []


@pytest.mark.parametrize("change", [lambda m: m.update(b="c"), lambda m: m.pop("a"), lambda m: m.__setitem__("a", "z")])
def test_a_frozen_map_does_not_change(change) -> None:
    frozen = FrozenMap(a="b")
    with pytest.raises(TypeError):
        change(frozen)
    assert frozen == {"a": "b"}
