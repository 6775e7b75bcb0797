"""`dromos up` and `dromos down`."""

import asyncio
import errno
import getpass
import os
import shutil
import signal
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import click
import docker

from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError
from dromos import output
from dromos.api import Api
from dromos.definitions import load
from dromos.errors import CommandError
from dromos.up import health, plan, process, teardown
from dromos.up.plan import Daemon, Machine
from dromos.up.process import Process
from dromos.up.settings import UpSettings
from dromos.up.state import StateDir
from dromos.up.supervisor import Supervisor
from dromos.waiting import wait_for

SAMPLE = Path(__file__).resolve().parents[2] / "marathon_apps" / "hello.json"
SAMPLE_TIMEOUT = 60.0
ROUTE_TIMEOUT = 60.0
SUPERVISED = "DROMOS_SUPERVISED"  # set in the environment of the process that `up --detach` leaves behind


@click.command()
@click.option("--detach", is_flag=True, help="return when everything is ready")
@UpSettings.options(skip=("api_url", "config"))
def up(detach: bool, **flags: object) -> None:
    """Run the platform on this machine: Mesos, Consul, the framework, the registrator, the edge, the autoscaler."""
    settings = UpSettings.load(flags)
    state = StateDir(settings.state_dir)
    state.create()
    if SUPERVISED in os.environ:
        _supervise(settings, state)
        return
    daemons = plan.plan(settings, _look_at_machine())
    _check_ports(settings, daemons, state)
    supervisor = _start_supervisor(state)
    try:
        _wait_until_ready(settings, state, daemons, supervisor)
        try:
            _deploy_sample(settings)
        except OperatorError as error:  # the platform runs; a Mesos without room for the sample is no reason to end it
            click.echo(f"the sample is not up: {error}; see `dromos queue`, or start with --no-sample", err=True)
    except BaseException:
        click.echo("stopping what was started", err=True)
        supervisor.stop(teardown.SUPERVISOR_GRACE)
        raise
    _print_urls(settings, state, daemons)
    if not detach:
        click.echo("\nCtrl-C stops it, with all its tasks; `dromos up --detach` leaves it running.")
        _until_interrupted(supervisor)


@click.command()
@click.option("--state-dir", help="where the platform keeps its state  [DROMOS_STATE_DIR]")
def down(state_dir: str | None) -> None:
    """Stop the platform on this machine, with every task and container that it runs. Its apps are kept for the next up."""
    state = StateDir(UpSettings.load({"state_dir": state_dir}).state_dir)
    if not state.path.exists():
        click.echo(f"no platform runs with state directory {state.path}")
        return
    ran = teardown.stop_supervisor(state)
    with state.locked():
        ended = teardown.tear_down(state)
    click.echo("stopped" if ran or ended else f"no platform runs with state directory {state.path}")


def _supervise(settings: UpSettings, state: StateDir) -> None:
    """The supervisor's own process: keeps the daemons running until SIGTERM, then ends everything."""
    logs.configure(daemon="up")
    del os.environ[SUPERVISED]  # it is not for the daemons, nor for what runs below them
    with state.locked():
        me = Process.of(os.getpid())
        assert me is not None
        daemons = plan.plan(settings, _look_at_machine())
        supervisor = Supervisor(daemons, state, log_limit=settings.log_limit * 1_000_000, left=state.left())
        state.remember(
            {"daemons": [asdict(daemon) for daemon in daemons], "settings": settings.model_dump(mode="json")}
        )
        state.supervisor.write(me)

        async def main(stop: asyncio.Event) -> None:
            await supervisor.run(stop)

        lifecycle.run(main)
        supervisor.stop_all()
        teardown.tear_down(state)
        state.supervisor.remove()


def _look_at_machine() -> Machine:
    return Machine(consul=shutil.which("consul"), docker=_docker_answers(), user=_user())


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as containers have it
        return None


def _docker_answers() -> bool:
    try:
        client = docker.from_env(timeout=3)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


def _check_ports(settings: UpSettings, daemons: list[Daemon], state: StateDir) -> None:
    """Says at once which port cannot be had, before anything is started. What an earlier platform left running keeps its ports."""
    if (shared := plan.shared_port(daemons)) is not None:
        raise CommandError(shared)
    held = state.held_ports(edge_runs=teardown.edge_runs(state))
    for daemon in daemons:
        for port, flag in daemon.ports:
            if port in held:
                continue
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((settings.host, port))
                except OSError as error:
                    # Of an address it is the address that is wrong, and no other port helps.
                    of_port = error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM)
                    mend = (
                        f"choose another port with {flag}"
                        if of_port
                        else "give an IPv4 address of this machine with --host"
                    )
                    raise CommandError(
                        f"{daemon.name} cannot listen on {settings.host}:{port}: {error.strerror}; {mend}"
                    ) from None


def _start_supervisor(state: StateDir) -> Process:
    with state.locked():
        pass  # says so at once if another platform has this directory
    child = process.start(
        (sys.executable, "-m", "dromos", *sys.argv[1:]),
        log=state.log("up"),
        environment={**os.environ, SUPERVISED: "1"},
    )
    # Collects its exit status when it ends, so that it does not count as alive for ever.
    threading.Thread(target=child.wait, daemon=True).start()
    started = Process.of(child.pid)
    if started is None:
        raise CommandError(f"the supervisor ended at once; {_last_line(state, 'up')}")
    return started


def _wait_until_ready(settings: UpSettings, state: StateDir, daemons: list[Daemon], supervisor: Process) -> None:
    def given_up() -> bool:
        return not supervisor.alive

    urls = {daemon.name: daemon.health for daemon in daemons}
    ill = health.wait_until_healthy(urls, timeout=settings.start_timeout, given_up=given_up)
    if not supervisor.alive:
        raise CommandError(f"the supervisor ended; {_last_line(state, 'up')}")
    if ill:
        lines = [f"{name} {answer.why} ({_last_line(state, name)})" for name, answer in ill.items()]
        raise CommandError(f"not healthy after {settings.start_timeout:g} s: {'; '.join(lines)}")


def _last_line(state: StateDir, daemon: str) -> str:
    path = state.log(daemon)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return f"{path}: {lines[-1][:300]}" if lines else f"{path} is empty"


def _deploy_sample(settings: UpSettings) -> None:
    api = Api.of_environment(plan.api_url(settings))
    if not settings.sample or not SAMPLE.exists() or api.get("/v2/apps")["apps"]:
        return
    wanted = load((str(SAMPLE),))
    answer = api.put("/v2/apps", list(wanted.apps))
    wait_for(
        api,
        answer["deploymentId"],
        answer["version"],
        wanted.app_ids(),
        timeout=SAMPLE_TIMEOUT,
        say=lambda text: click.echo(f"deploying the sample: {text}"),
    )
    host = wanted.apps[0]["labels"]["HAPROXY_0_VHOST"]
    health.wait_until_reachable(plan.edge_url(settings), host, timeout=ROUTE_TIMEOUT)


def _print_urls(settings: UpSettings, state: StateDir, daemons: list[Daemon]) -> None:
    rows = [(what, url) for daemon in daemons for what, url in daemon.urls]
    for app in Api.of_environment(plan.api_url(settings)).get("/v2/apps")["apps"]:
        host = next((value for key, value in (app.get("labels") or {}).items() if key.endswith("_VHOST")), None)
        url = plan.edge_url(settings)
        rows.append((f"App {app['id']}", f"{url}/  (Host: {host.split(',')[0]})" if host else url + app["id"]))
    rows.append(("Logs and state", str(state.path)))
    click.echo()
    output.show(rows, ("WHAT", "WHERE"), None, as_json=False)


def _until_interrupted(supervisor: Process) -> None:
    """Waits for Ctrl-C or SIGTERM, then has everything stopped; or for the supervisor's end, if `dromos down` was quicker."""
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    while not interrupted.wait(0.5):
        if not supervisor.alive:
            return
    click.echo("stopping")
    supervisor.stop(teardown.SUPERVISOR_GRACE)
