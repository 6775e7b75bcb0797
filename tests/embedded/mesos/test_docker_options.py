"""A task's container as Docker's own options."""

from pathlib import Path

import pytest
from docker.types import EndpointConfig, HostConfig

from embedded.mesos.runtimes.base import Launch, LaunchError
from embedded.mesos.runtimes.docker_options import _PARAMETERS, options, size
from tests.support.mesos_agent import container, framework, task

MB = 1024 * 1024


def made(info=None, *, hard_cpu=False, group=None, **fields):
    launch = Launch(
        agent_id="agent",
        container_id="c1",
        framework=framework(),
        task=task("t", container=info or container("image"), **fields),
        sandbox=Path("/sandbox"),
        directory=Path("/meta"),
        group_sandbox=group,
    )
    return options(launch, log_bytes=1000, hard_cpu=hard_cpu)


def refused(info, words, **fields):
    with pytest.raises(LaunchError, match=words):
        made(info, **fields)


def test_name_labels_sandbox_and_environment_tell_whose_it_is():
    found = made(env={"A": "1"})
    assert found.name == "mesos-c1"
    assert found.create["labels"] == {
        "dromos.mesos.agent": "agent",
        "dromos.mesos.framework": "fw",
        "dromos.mesos.task": "t",
        "dromos.mesos.container": "c1",
    }
    assert found.host["binds"] == ["/sandbox:/mnt/mesos/sandbox:rw"]
    assert found.create["environment"] == {
        "A": "1",
        "MESOS_SANDBOX": "/mnt/mesos/sandbox",
        "MESOS_CONTAINER_NAME": "mesos-c1",
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo hi", {"entrypoint": ["/bin/sh"], "command": ["-c", "echo hi"]}),
        ({"shell": False, "value": "run", "arguments": ["a", "b"]}, {"command": ["run", "a", "b"]}),
        ({"shell": False, "arguments": ["a", "b"]}, {"command": ["a", "b"]}),
        ({"shell": False}, {}),
        (None, {}),
    ],
)
def test_a_shell_replaces_the_entry_point_and_an_argv_is_given_to_it(command, expected):
    found = made(command=command)
    assert {name: found.create[name] for name in ("entrypoint", "command") if name in found.create} == expected


def test_resources_become_shares_and_a_memory_limit():
    assert made(cpus=0.5, mem=100).host["cpu_shares"] == 512
    assert made(cpus=0.5, mem=100).host["mem_limit"] == 100 * MB
    assert made(cpus=0.0001, mem=1).host["cpu_shares"] == 2
    assert made(mem=1).host["mem_limit"] == 32 * MB, "Docker's least, as Mesos gives it"
    assert "cpu_quota" not in made(cpus=0.5).host
    assert made(cpus=0.5, hard_cpu=True).host["cpu_quota"] == 50_000
    assert made(cpus=0.5, limits={"cpus": {"value": 2}, "mem": {"value": float("inf")}}).host["cpu_quota"] == 200_000
    assert "mem_limit" not in made(limits={"mem": {"value": float("inf")}}).host


def test_ports_are_published_on_bridges_only():
    found = made(container("image", ports=[(31000, 80), (31001, 80), (31002, 53)]))
    assert found.host["port_bindings"] == {"80/tcp": ["31000", "31001"], "53/tcp": ["31002"]}
    assert made(container("image", "USER", ports=[(1, 2)]) | {"network_infos": [{"name": "net"}]}).network == "net"
    refused(container("image", "HOST", ports=[(1, 2)]), "Port mappings are only supported for bridge")
    refused(container("image", "NONE", ports=[(1, 2)]), "Port mappings are only supported for bridge")


@pytest.mark.parametrize(
    ("volume", "bind"),
    [
        ({"container_path": "/data", "host_path": "/srv", "mode": "RO"}, "/srv:/data:ro"),
        ({"container_path": "data", "host_path": "/srv", "mode": "RW"}, "/srv:/mnt/mesos/sandbox/data:rw"),
        ({"container_path": "/data", "host_path": "in/box", "mode": "RW"}, "/sandbox/in/box:/data:rw"),
        ({"container_path": "/data", "mode": "RW"}, "/sandbox/data:/data:rw"),
        (
            {
                "container_path": "/v",
                "mode": "RW",
                "source": {"type": "DOCKER_VOLUME", "docker_volume": {"name": "vol"}},
            },
            "vol:/v:rw",
        ),
        (
            {"container_path": "/v", "mode": "RW", "source": {"type": "HOST_PATH", "host_path": {"path": "/srv"}}},
            "/srv:/v:rw",
        ),
        (
            {
                "container_path": "/v",
                "mode": "RW",
                "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "p"}},
            },
            "/group/p:/v:rw",
        ),
    ],
)
def test_volumes(volume, bind):
    assert made(container("image", volumes=[volume]), group=Path("/group")).host["binds"][1] == bind


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"container_path": "../x", "host_path": "/srv", "mode": "RW"}, "leads out of the sandbox"),
        ({"container_path": "/x", "host_path": "../srv", "mode": "RW"}, "leads out of the sandbox"),
        ({"container_path": "/x:ro,z", "host_path": "/srv", "mode": "RW"}, "must not have a colon"),
        ({"container_path": "/x", "mode": "RW", "source": {"type": "SECRET"}}, "SECRET is not supported"),
        (
            {
                "container_path": "/x",
                "mode": "RW",
                "source": {"type": "DOCKER_VOLUME", "docker_volume": {"name": "v", "driver": "nfs"}},
            },
            "volume driver 'nfs'",
        ),
    ],
)
def test_volumes_that_cannot_be(volume, words):
    refused(container("image", volumes=[volume]), words)


@pytest.mark.parametrize(
    ("name", "value", "group", "expected"),
    [
        ("label", "color=red", "create", {"labels": {"color": "red"}}),
        ("env", "A=b=c", "create", {"environment": {"A": "b=c"}}),
        ("hostname", "box", "create", {"hostname": "box"}),
        ("h", "box", "create", {"hostname": "box"}),
        ("--hostname", "box", "create", {"hostname": "box"}),
        ("user", "web:web", "create", {"user": "web:web"}),
        ("entrypoint", "/run 'a b'", "create", {"entrypoint": ["/run", "a b"]}),
        ("cap-add", "NET_ADMIN", "host", {"cap_add": ["NET_ADMIN"]}),
        ("ulimit", "nofile=1024:2048", "host", {"ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]}),
        ("memory", "1.5g", "host", {"mem_limit": 1536 * MB}),
        ("memory-swap", "-1", "host", {"memswap_limit": -1}),
        ("cpus", "1.5", "host", {"nano_cpus": 1_500_000_000}),
        ("add-host", "db:10.0.0.1", "host", {"extra_hosts": {"db": "10.0.0.1"}}),
        ("device", "/dev/fuse", "host", {"devices": ["/dev/fuse:/dev/fuse:rwm"]}),
        ("volume", "/a:/b:ro", "host", {"binds": ["/a:/b:ro"]}),
        ("tmpfs", "/run:size=1m", "host", {"tmpfs": {"/run": "size=1m"}}),
        ("sysctl", "net.core.somaxconn=1024", "host", {"sysctls": {"net.core.somaxconn": "1024"}}),
        ("log-driver", "syslog", "host", {"log_config": {"Type": "syslog", "Config": {}}}),
        (
            "log-opt",
            "tag=x",
            "host",
            {"log_config": {"Type": "json-file", "Config": {"max-size": "1000", "max-file": "2", "tag": "x"}}},
        ),
        ("read-only", "true", "host", {"read_only": True}),
        ("publish", "127.0.0.1:8080:80/udp", "host", {"port_bindings": {"80/udp": [("127.0.0.1", "8080")]}}),
        ("privileged", "", "host", {"privileged": True}),
        ("ip", "10.1.2.3", "endpoint", {"ipv4_address": "10.1.2.3"}),
        ("network-alias", "other", "endpoint", {"aliases": ["other"]}),
    ],
)
def test_parameters_of_docker_run(name, value, group, expected):
    found = getattr(made(container("image", parameters={name: value})), group)
    [(key, wanted)] = expected.items()
    if isinstance(wanted, dict):
        assert {k: found[key][k] for k in wanted} == wanted
    elif isinstance(wanted, list):
        assert all(item in found[key] for item in wanted)
    else:
        assert found[key] == wanted


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("frobnicate", "1", "Docker parameter 'frobnicate' is not supported"),
        ("name", "mine", "Docker parameter 'name' is not supported"),
        ("rm", "true", "Docker parameter 'rm' is not supported"),
        ("restart", "always", "the framework restarts tasks"),
        ("memory", "much", "'memory' has a bad value 'much'"),
        ("ulimit", "nofile", "'ulimit' has a bad value"),
        ("publish", "a:b", "'publish' has a bad value"),
        ("add-host", "db", "'add-host' has a bad value"),
        ("privileged", "perhaps", "'privileged' has a bad value"),
    ],
)
def test_parameters_that_cannot_be(name, value, words):
    refused(container("image", parameters={name: value}), words)


VALUES = {
    "add-host": "a:1.2.3.4", "cpus": "1", "device": "/dev/null", "log-opt": "max-size=1m", "restart": "no", "ulimit": "nofile=1",
    "publish": "80", "p": "80", "expose": "80", "tmpfs": "/t:size=1m", "link": "a:b", "log-driver": "syslog", "blkio-weight": "100",
    "sysctl": "a=b", "storage-opt": "size=1G", "label": "a=b", "l": "a=b", "env": "A=b", "e": "A=b",
    "userns": "host", "uts": "host",
}  # fmt: skip
FLAGS = {"init", "oom-kill-disable", "privileged", "read-only"}


@pytest.mark.parametrize("name", sorted(_PARAMETERS))
def test_docker_knows_every_option_that_is_made(name):
    """The SDK refuses names that it does not know."""
    value = VALUES.get(name, "true" if name in FLAGS else "1")
    found = made(container("image", parameters={name: value}))
    HostConfig(version="1.41", **found.host)
    EndpointConfig(version="1.41", **found.endpoint)


def test_network_and_image_are_checked():
    refused({"type": "DOCKER"}, "needs docker.image")
    refused(container("image", "USER"), "needs one network_infos")
    refused(container("image") | {"tty_info": {}} | {"tty_info": {"window_size": {}}}, "tty_info is not supported")
    assert made(container("image", privileged=True)).host["privileged"] is True
    assert made(container("image", parameters={"net": "mine"})).host["network_mode"] == "mine"


@pytest.mark.parametrize(
    ("text", "expected"), [("64m", 64 * MB), ("64MB", 64 * MB), ("1024", 1024), ("2k", 2048), ("10b", 10)]
)
def test_sizes(text, expected):
    assert size(text) == expected
