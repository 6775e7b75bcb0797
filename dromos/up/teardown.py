"""Ends a platform without a trace: daemons, nginx, tasks, containers, cgroups. Works from the state directory alone,
so it also clears up after a crash."""

import nginx.process
from dromos.up.process import Process
from dromos.up.state import StateDir
from embedded.mesos.cleanup import clean
from nginx.layout import Layout

# In this order: nobody who would start something again is alive when what he started is ended.
DAEMONS = ("autoscale", "framework", "registrator", "edge", "mesos", "consul")
SUPERVISOR_GRACE = 60.0
DAEMON_GRACE = 10.0


def stop_supervisor(state: StateDir) -> bool:
    """True if one ran. It tears down by itself when it is told to end."""
    supervisor = state.supervisor.read()
    if supervisor is None:
        return False
    supervisor.stop(SUPERVISOR_GRACE)
    state.supervisor.remove()
    return True


def tear_down(state: StateDir) -> list[str]:
    """What had to be ended, in words."""
    ended = []
    left: list[tuple[str, Process]] = []
    for name in DAEMONS:
        process = state.pid_file(name).read()
        if process:
            left.append((name, process))
    for name, process in left:
        process.stop(DAEMON_GRACE)
        ended.append(f"daemon {name}")
        state.pid_file(name).remove()
    ended += _stop_nginx(state)
    ended += _clean_mesos(state)
    state.forget()
    return ended


def edge_runs(state: StateDir) -> bool:
    """Whether an edge's proxy does: it outlives its daemon."""
    return bool(nginx.process.ours(Layout(state.path / "edge")))


def _stop_nginx(state: StateDir) -> list[str]:
    return ["nginx"] if nginx.process.stop(state.path / "edge") else []


def _clean_mesos(state: StateDir) -> list[str]:
    work_dir = state.path / "mesos"
    tasks = clean(work_dir) if work_dir.exists() else 0
    return [f"{tasks} tasks"] if tasks else []
