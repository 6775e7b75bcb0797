"""Which daemons a platform consists of, and with which flags: a pure function of the settings and of what the machine has."""

import sys
from dataclasses import dataclass

from dromos.up.settings import UpSettings


@dataclass(frozen=True)
class Daemon:
    """One process. `health` is the URL that answers 200 when it is ready; `urls` are shown to people."""

    name: str
    argv: tuple[str, ...]
    health: str
    urls: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[int, str], ...] = ()  # what it listens on, and the flag that moves it


@dataclass(frozen=True)
class Machine:
    """What was found on this machine."""

    consul: str | None  # the program's path
    docker: bool  # a docker daemon answers
    user: str | None  # who runs this, where that user has a name


def shared_port(daemons: list[Daemon]) -> str | None:
    """In words, if two of them were to listen on the same port."""
    flags: dict[int, str] = {}
    for port, flag in (item for daemon in daemons for item in daemon.ports):
        if port in flags:
            return f"{flags[port]} and {flag} are both {port}; choose another port for one of them"
        flags[port] = flag
    return None


def plan(settings: UpSettings, machine: Machine) -> list[Daemon]:
    """The daemons in the order in which they are started; they are stopped in the reverse order."""
    daemons = []
    if settings.mesos_master is None:
        daemons.append(_mesos(settings, machine))
    if settings.consul_addr is None:
        daemons.append(_consul(settings, machine))
    return [
        *daemons,
        _framework(settings, machine),
        _registrator(settings, machine),
        _edge(settings),
        _autoscale(settings),
    ]


def mesos_address(settings: UpSettings) -> str:
    return settings.mesos_master or f"{settings.host}:{settings.mesos_port}"


def consul_url(settings: UpSettings) -> str:
    return _url(settings.consul_addr or f"{settings.host}:{settings.consul_port}")


def _url(address: str) -> str:
    """HOST:PORT as a URL; what names its scheme already (https, zk) stays."""
    return address if "://" in address else f"http://{address}"


def api_url(settings: UpSettings) -> str:
    return f"http://{settings.host}:{settings.api_port}"


def edge_url(settings: UpSettings) -> str:
    return f"http://{settings.host}:{settings.edge_port}"


def _dromos(command: str, **flags: object) -> tuple[str, ...]:
    argv = [sys.executable, "-m", "dromos", command]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            argv.append(flag)
        elif isinstance(value, tuple):
            argv += [part for item in value for part in (flag, str(item))]
        elif value is not None and value is not False:
            argv += [flag, str(value)]
    return tuple(argv)


def _mesos(settings: UpSettings, machine: Machine) -> Daemon:
    url = f"http://{settings.host}:{settings.mesos_port}"
    return Daemon(
        "mesos",
        _dromos(
            "mesos",
            host=settings.host,
            port=settings.mesos_port,
            state_dir=settings.state_dir / "mesos",
            agents=settings.agents,
            simulate=settings.simulate,
        ),
        health=f"{url}/health",
        urls=(("Mesos", f"{url}/state"),),
        ports=((settings.mesos_port, "--mesos-port"),),
    )


def _consul(settings: UpSettings, machine: Machine) -> Daemon:
    url = f"http://{settings.host}:{settings.consul_port}"
    data = settings.state_dir / "consul"
    ports = [settings.consul_port]
    if machine.consul and not settings.embedded_consul:
        argv: tuple[str, ...] = (
            *(machine.consul, "agent", "-server", "-bootstrap-expect=1", "-ui=false", f"-data-dir={data}"),
            *(f"-bind={settings.host}", f"-client={settings.host}", f"-http-port={settings.consul_port}"),
            # No port but the API's is needed on one machine; those that cannot be turned off follow it.
            *("-dns-port=-1", f"-server-port={settings.consul_port + 1}"),
            *(f"-serf-lan-port={settings.consul_port + 2}", "-serf-wan-port=-1", "-disable-host-node-id"),
        )
        ports += [settings.consul_port + 1, settings.consul_port + 2]
    else:
        argv = _dromos("consul", host=settings.host, port=settings.consul_port, state_dir=data)
    return Daemon(
        "consul",
        argv,
        health=f"{url}/v1/status/leader",
        urls=(("Consul", f"{url}/v1/catalog/services"),),
        ports=tuple((port, "--consul-port") for port in ports),
    )


def _framework(settings: UpSettings, machine: Machine) -> Daemon:
    url = api_url(settings)
    return Daemon(
        "framework",
        _dromos(
            "framework",
            master=mesos_address(settings),
            http_address=settings.host,
            http_port=settings.api_port,
            state_dir=settings.state_dir / "framework",
            mesos_user=machine.user,
            # Whom the UI asks, through the API.
            consul=consul_url(settings),
            edge=f"http://{settings.host}:{settings.edge_daemon_port}",
            edge_status=f"http://{settings.host}:{settings.edge_status_port}",
            autoscale=f"http://{settings.host}:{settings.autoscale_port}",
            registrator=f"http://{settings.host}:{settings.registrator_port}",
        ),
        health=f"{url}/health",
        urls=(("API", f"{url}/v2/apps"), ("UI", f"{url}/ui/")),
        ports=((settings.api_port, "--api-port"),),
    )


def _registrator(settings: UpSettings, machine: Machine) -> Daemon:
    url = f"http://{settings.host}:{settings.registrator_port}"
    return Daemon(
        "registrator",
        _dromos(
            "registrator",
            host=settings.host,
            port=settings.registrator_port,
            consul=consul_url(settings),
            mesos=_url(mesos_address(settings)),
            marathon=api_url(settings),
            docker=machine.docker,
        ),
        health=f"{url}/health",
        urls=(("Registrator", f"{url}/status"),),
        ports=((settings.registrator_port, "--registrator-port"),),
    )


def _edge(settings: UpSettings) -> Daemon:
    url = f"http://{settings.host}:{settings.edge_daemon_port}"
    return Daemon(
        "edge",
        _dromos(
            "edge",
            host=settings.host,
            port=settings.edge_port,
            status_port=settings.edge_status_port,
            daemon_port=settings.edge_daemon_port,
            consul=consul_url(settings),
            state_dir=settings.state_dir / "edge",
        ),
        health=f"{url}/health",
        urls=(
            ("Edge", edge_url(settings)),
            ("Edge status", f"http://{settings.host}:{settings.edge_status_port}/status"),
        ),
        ports=(
            (settings.edge_port, "--edge-port"),
            (settings.edge_status_port, "--edge-status-port"),
            (settings.edge_daemon_port, "--edge-daemon-port"),
        ),
    )


def _autoscale(settings: UpSettings) -> Daemon:
    url = f"http://{settings.host}:{settings.autoscale_port}"
    # Usage is read over HTTP: of several masters the first one sends on to their leader; one that is found through ZooKeeper is to be
    # named to the autoscaler itself.
    master = mesos_address(settings)
    mesos = {} if master.startswith("zk://") else {"mesos": _url(master.partition(",")[0])}
    return Daemon(
        "autoscale",
        _dromos(
            "autoscale",
            host=settings.host,
            port=settings.autoscale_port,
            marathon=api_url(settings),
            edge=f"http://{settings.host}:{settings.edge_status_port}",
            state_dir=settings.state_dir / "autoscale",
            **mesos,
        ),
        health=f"{url}/health",
        urls=(("Autoscaler", f"{url}/"),),
        ports=((settings.autoscale_port, "--autoscale-port"),),
    )
