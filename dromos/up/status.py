"""`dromos status`: each daemon of the platform on this machine, and why it is or is not healthy."""

from pathlib import Path

import click

from dromos.context import Context, pass_context
from dromos.errors import CommandError, NotReachableError
from dromos.up.health import ask
from dromos.up.settings import UpSettings
from dromos.up.state import StateDir


@click.command()
@click.option("--state-dir", help="where the platform keeps its state  [DROMOS_STATE_DIR]")
@pass_context
def status(context: Context, state_dir: Path | None) -> None:
    """How the platform on this machine is. Exit code 0: all well; 1: something is not; 3: it does not run."""
    state = StateDir(UpSettings.load({"state_dir": state_dir}).state_dir)
    facts = state.recall()
    if facts is None:
        raise NotReachableError(f"no platform runs with state directory {state.path}; start one with `dromos up`")
    supervisor = state.supervisor.read()
    rows, data, ill = [], [], []
    for daemon in facts["daemons"]:
        process = state.pid_file(daemon["name"]).read()
        answer = ask(daemon["health"])
        if not answer.healthy:
            ill.append(daemon["name"])
        url = daemon["urls"][0][1] if daemon["urls"] else ""
        word = "healthy" if answer.healthy else "NOT HEALTHY"
        rows.append((daemon["name"], process.pid if process else "-", word, url, answer.why))
        data.append(
            {
                "name": daemon["name"],
                "pid": process and process.pid,
                "healthy": answer.healthy,
                "why": answer.why,
                "url": url,
            }
        )
    context.show(
        rows, ("DAEMON", "PID", "STATE", "URL", "WHY"), {"daemons": data, "supervisor": supervisor and supervisor.pid}
    )
    if supervisor is None:
        raise CommandError("nobody looks after the daemons: the supervisor is gone; `dromos up` takes over")
    if ill:
        raise CommandError(f"not healthy: {', '.join(ill)}; see {state.path}/logs")
