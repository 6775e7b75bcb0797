"""The commands that change apps: deploy, scale, restart, destroy, rollback."""

import time

import click

from daemonkit.arguments import Duration
from dromos import definitions
from dromos.api import Api, Json, app_path
from dromos.context import Context, pass_context
from dromos.errors import CommandError, DeploymentFailedError
from dromos.waiting import wait_for

DEFAULT_TIMEOUT = 300.0


def _waits(command: click.decorators.FC) -> click.decorators.FC:
    command = click.option(
        "--timeout",
        type=Duration(),
        default=DEFAULT_TIMEOUT,
        show_default=True,
        help="how long --wait waits; the deployment itself goes on",
    )(command)
    return click.option("--wait", is_flag=True, help="return when the deployment is done; exit code 4 if it failed")(
        command
    )


_force = click.option("--force", is_flag=True, help="cancel a deployment that is in the way")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@_force
@_waits
@pass_context
def deploy(context: Context, files: tuple[str, ...], force: bool, wait: bool, timeout: float) -> None:
    """Create or update the apps and groups in FILE… (JSON files, folders of them, or - for standard input)."""
    wanted = definitions.load(files)
    deadline = time.monotonic() + timeout
    for group in wanted.groups:
        answer = context.api.put("/v2/groups", group, force=force)
        _finish(context, answer, definitions.Definitions(groups=(group,)).app_ids(), wait, deadline, "deployed")
    if wanted.apps:
        answer = context.api.put("/v2/apps", list(wanted.apps), force=force, partialUpdate=False)
        _finish(context, answer, definitions.Definitions(apps=wanted.apps).app_ids(), wait, deadline, "deployed")


@click.command()
@click.argument("app")
@click.argument("instances", type=click.IntRange(min=0))
@_force
@_waits
@pass_context
def scale(context: Context, app: str, instances: int, force: bool, wait: bool, timeout: float) -> None:
    """Set the number of instances of APP."""
    _must_exist(context.api, app)
    answer = context.api.put(app_path(app), {"instances": instances}, force=force)
    _finish(context, answer, (_absolute(app),), wait, time.monotonic() + timeout, f"scaled to {instances}")


@click.command()
@click.argument("app")
@_force
@_waits
@pass_context
def restart(context: Context, app: str, force: bool, wait: bool, timeout: float) -> None:
    """Replace all instances of APP, as its upgrade strategy allows."""
    answer = context.api.post(app_path(app) + "/restart", force=force)
    _finish(context, answer, (_absolute(app),), wait, time.monotonic() + timeout, "restarted")


@click.command()
@click.argument("app")
@click.argument("version", required=False)
@_force
@_waits
@pass_context
def rollback(context: Context, app: str, version: str | None, force: bool, wait: bool, timeout: float) -> None:
    """Bring APP back to VERSION, or to the one before the current."""
    version = version or _previous_version(context.api, app)
    answer = context.api.put(app_path(app), {"version": version}, force=force)
    _finish(context, answer, (_absolute(app),), wait, time.monotonic() + timeout, f"rolled back to {version}")


@click.command()
@click.argument("apps", nargs=-1, required=True, metavar="APP…")
@click.option("--wait", is_flag=True, help="return when no instance is left")
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, show_default=True)
@pass_context
def destroy(context: Context, apps: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Stop all instances of APP… and forget them."""
    deadline = time.monotonic() + timeout
    for app in apps:
        answer = context.api.delete(app_path(app))
        context.say(f"{_absolute(app)} destroyed, deployment {answer['deploymentId']}")
        if context.as_json and not wait:
            context.show([], [], answer)
        while wait and any(item.get("id") == answer["deploymentId"] for item in context.api.get("/v2/deployments")):
            if time.monotonic() > deadline:
                raise DeploymentFailedError(f"{_absolute(app)} still has instances after {timeout:g} s")
            time.sleep(0.3)


def _finish(context: Context, answer: Json, app_ids: tuple[str, ...], wait: bool, deadline: float, done: str) -> None:
    deployment = answer.get("deploymentId") or next((item["id"] for item in answer.get("deployments") or []), None)
    version = str(answer.get("version", ""))
    names = ", ".join(app_ids)
    if wait and deployment:
        context.say(f"{names}: deployment {deployment}")
        left = max(1.0, deadline - time.monotonic())
        wait_for(context.api, deployment, version, app_ids, timeout=left, say=context.say)
        context.say(f"{names} {done}")
    else:
        context.say(f"{names}: deployment {deployment} started" if deployment else f"{names}: nothing to change")
    if context.as_json:
        context.show([], [], {"apps": list(app_ids), "version": version, "deploymentId": deployment})


def _must_exist(api: Api, app: str) -> None:
    if api.get_or_none(app_path(app)) is None:
        raise CommandError(f"App '{_absolute(app)}' does not exist")


def _previous_version(api: Api, app: str) -> str:
    versions = sorted(api.get(app_path(app) + "/versions")["versions"], reverse=True)
    if len(versions) < 2:
        raise CommandError(f"{_absolute(app)} has no version before the current one")
    return str(versions[1])


def _absolute(app: str) -> str:
    return "/" + app.strip("/")
