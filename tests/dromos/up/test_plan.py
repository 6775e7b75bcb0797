"""Which daemons are told what: a platform beside neighbours that run already, and one with everything of its own."""

import re
from typing import Any

import pytest

from dromos.up.plan import Machine, plan, shared_port
from dromos.up.settings import UpSettings

NOTHING = Machine(consul=None, docker=False, user="me")


def planned(machine: Machine = NOTHING, **given: Any) -> dict[str, str]:
    """The command line of each daemon, by name."""
    settings = UpSettings.load(given, environment={})
    return {daemon.name: " ".join(daemon.argv) for daemon in plan(settings, machine)}


def flag(command: str, name: str) -> str | None:
    found = re.search(rf" --{name} (\S+)", command)
    return found[1] if found else None


@pytest.mark.parametrize(
    ("master", "framework", "registrator", "autoscale"),
    [
        ("m:5050", "m:5050", "http://m:5050", "http://m:5050"),
        ("http://m:5050", "http://m:5050", "http://m:5050", "http://m:5050"),
        ("https://m:5050", "https://m:5050", "https://m:5050", "https://m:5050"),
        ("m1:5050,m2:5050", "m1:5050,m2:5050", "http://m1:5050,m2:5050", "http://m1:5050"),
        ("zk://a:2181,b:2181/mesos", "zk://a:2181,b:2181/mesos", "zk://a:2181,b:2181/mesos", None),
    ],
)
def test_a_master_that_runs_already_is_named_to_each_in_its_own_way(master, framework, registrator, autoscale):
    daemons = planned(mesos_master=master)
    assert "mesos" not in daemons
    assert flag(daemons["framework"], "master") == framework
    assert flag(daemons["registrator"], "mesos") == registrator
    assert flag(daemons["autoscale"], "mesos") == autoscale


@pytest.mark.parametrize(
    ("given", "expected"), [("c:8500", "http://c:8500"), ("http://c:8500", "http://c:8500"), ("https://c", "https://c")]
)
def test_a_consul_that_runs_already_is_asked_where_it_is(given, expected):
    daemons = planned(consul_addr=given)
    assert "consul" not in daemons
    assert {flag(daemons[name], "consul") for name in ("framework", "registrator", "edge")} == {expected}


def test_a_consul_program_is_used_where_there_is_one_and_its_ports_are_none_of_the_others():
    machine = Machine(consul="/usr/bin/consul", docker=True, user=None)
    assert planned(machine)["consul"].startswith("/usr/bin/consul agent -server")
    assert planned(machine, embedded_consul=True)["consul"].startswith(planned()["consul"].split(" --")[0])
    assert " --docker" in planned(machine)["registrator"] and "--mesos-user" not in planned(machine)["framework"]
    shared = shared_port(plan(UpSettings.load({"api_port": 8501}, environment={}), machine))
    assert shared == "--consul-port and --api-port are both 8501; choose another port for one of them"
    assert shared_port(plan(UpSettings.load({"api_port": 8501}, environment={}), NOTHING)) is None
