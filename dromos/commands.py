"""The commands that change apps, pods and groups: deploy, scale, restart, go, rollback, destroy."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from daemonkit.arguments import Duration
from dromos import definitions
from dromos.api import Json, app_path, group_path, pod_path
from dromos.context import Context, pass_context
from dromos.definitions import Definitions, absolute
from dromos.errors import CommandError
from dromos.rollouts import RolloutName, described, find_rollout
from dromos.specs import SpecName, Target, find
from dromos.waiting import Started, Waiting, until_gone

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
_dry_run = click.option("--dry-run", is_flag=True, help="show what would change, and change nothing")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path())
@_dry_run
@click.option("--confirm", is_flag=True, help="show what would change and ask before it does")
@_force
@_waits
@pass_context
def deploy(
    context: Context, files: tuple[str, ...], dry_run: bool, confirm: bool, force: bool, wait: bool, timeout: float
) -> None:
    """Create or update the apps, pods and groups in FILE… (JSON or YAML files, folders of them, or - for standard input)."""
    wanted = definitions.load(files)
    if (dry_run or confirm) and not _agreed(context, wanted, dry_run):
        return
    follow = _Follower(context, wait, timeout)
    for group in wanted.groups:
        group_id = absolute(str(group["id"]))
        one = Definitions(groups=(group,))
        answer, deployment = context.api.deploy("PUT", group_path(group_id), {**group, "id": group_id}, force=force)
        follow(deployment, answer, apps=one.app_ids(), pods=one.pod_ids(), done="deployed")
    for pod in wanted.pods:
        pod_id = absolute(pod["id"])
        exists = context.api.get_or_none(pod_path(pod_id)) is not None
        method, path = ("PUT", pod_path(pod_id)) if exists else ("POST", "/v2/pods")
        answer, deployment = context.api.deploy(method, path, {**pod, "id": pod_id}, force=force)
        follow(deployment, answer, pods=(pod_id,), done="deployed")
    if wanted.apps:
        apps = [{**app, "id": absolute(app["id"])} for app in wanted.apps]
        answer, deployment = context.api.deploy("PUT", "/v2/apps", apps, force=force, partialUpdate=False)
        follow(deployment, answer, apps=tuple(app["id"] for app in apps), done="deployed")
    follow.show()


def _agreed(context: Context, wanted: Definitions, dry_run: bool) -> bool:
    """Whether to go on, after the differences have been shown."""
    from dromos import diff  # the forms are not needed for anything else here, and take their time to load

    found = diff.diff_of(context.api, wanted)
    if dry_run:
        diff.show(context, found)
        return False
    diff.show(replace(context, as_json=False), found)
    if all(item.change == "unchanged" for item in found):
        return False
    return click.confirm("Apply?", err=context.as_json)


@click.command()
@click.argument("app", type=SpecName())
@click.argument("instances", type=click.IntRange(min=0))
@_force
@_waits
@pass_context
def scale(context: Context, app: str, instances: int, force: bool, wait: bool, timeout: float) -> None:
    """Set the number of instances of APP."""
    target = find(context, app)
    if target.kind == "pod":
        body = {**target.definition, "scaling": {**target.definition["scaling"], "instances": instances}}
    else:
        body = {"instances": instances}
    labels = target.definition.get("labels") or {}
    if instances and any(key.startswith("DROMOS_AUTOSCALE_") for key in labels):
        note = f"{target.id} is autoscaled by its labels: the autoscaler goes on from {instances}, within its bounds; 0 suspends it"
        click.echo(note, err=True)
    _change(context, target, body, force, wait, timeout, f"scaled to {instances}")


@click.command()
@click.argument("app", type=SpecName())
@_force
@_waits
@pass_context
def restart(context: Context, app: str, force: bool, wait: bool, timeout: float) -> None:
    """Replace all instances of APP, as its upgrade strategy allows."""
    answer, deployment = context.api.deploy("POST", app_path(app) + "/restart", force=force)
    follow = _Follower(context, wait, timeout)
    follow(deployment, answer, apps=(absolute(app),), done="restarted")
    follow.show()


@click.command()
@click.argument("name", metavar="DEPLOYMENT|APP", type=RolloutName())
@click.option("--force", is_flag=True, help="also before the share of the new version is there and well")
@_waits
@pass_context
def go(context: Context, name: str, force: bool, wait: bool, timeout: float) -> None:
    """Let a canary or blue/green deployment go on: to the next share, at the end to all instances."""
    found = find_rollout(context.api, name)
    if found is None:
        raise CommandError(f"no deployment waits for the go of {name}; see `dromos deployments`")
    answer, deployment = context.api.deploy("POST", f"/v2/deployments/{found['id']}/go", force=force)
    _follow_rollout(context, found, answer, deployment, wait, timeout, "has taken over")


def _follow_rollout(
    context: Context, found: Json, answer: Any, deployment: str | None, wait: bool, timeout: float, done: str
) -> None:
    follow = _Follower(context, wait, timeout)
    apps, pods = tuple(found.get("affectedApps") or ()), tuple(found.get("affectedPods") or ())
    follow(deployment, answer, apps=apps, pods=pods, done=done)
    follow.show()


@click.command()
@click.argument("app", type=SpecName())
@click.argument("version", required=False)
@_dry_run
@_force
@_waits
@pass_context
def rollback(
    context: Context, app: str, version: str | None, dry_run: bool, force: bool, wait: bool, timeout: float
) -> None:
    """Bring APP (an app, a pod or a group) back to VERSION, or to the one before the current. See `dromos versions`.

    Where a new version of APP is being tried, or APP is the id of a running deployment, that deployment is rolled back.
    """
    under_way = None if version or dry_run else find_rollout(context.api, app)
    if under_way is not None:
        answer, deployment = context.api.deploy("DELETE", f"/v2/deployments/{under_way['id']}")
        _follow_rollout(context, under_way, answer, deployment, wait, timeout, "rolled back")
        return
    target = find(context, app, groups=True)
    version = version or target.previous_version(context.api)
    former = target.at(context.api, version)
    if dry_run:
        _show_rollback(context, target, former)
        return
    body = former if target.kind == "pod" else {"version": version}
    _change(context, target, body, force, wait, timeout, f"rolled back to {version}")


def _show_rollback(context: Context, target: Target, former: Any) -> None:
    from dromos import diff
    from dromos.differences import spec_diff

    if target.kind == "group":
        wanted = Definitions(groups=(former,))
        diff.show(context, diff.diff_of(context.api, wanted))
    else:
        diff.show(context, [spec_diff(target.kind, target.id, target.definition, former)])


@click.command()
@click.argument("apps", nargs=-1, required=True, metavar="APP…", type=SpecName())
@click.option("--group", "groups", is_flag=True, help="APP… are groups: all that is in them goes")
@click.option("--wait", is_flag=True, help="return when no instance is left")
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, show_default=True)
@pass_context
def destroy(context: Context, apps: tuple[str, ...], groups: bool, wait: bool, timeout: float) -> None:
    """Stop all instances of APP… (apps or pods) and forget them."""
    deadline = time.monotonic() + timeout
    removed = []
    for app in apps:
        spec_id = absolute(app)
        path = group_path(spec_id) if groups else find(context, app).path
        _, deployment = context.api.deploy("DELETE", path, force=True)
        context.say(f"{spec_id} destroyed, deployment {deployment}")
        removed.append({"id": spec_id, "deploymentId": deployment})
        if wait and deployment:
            until_gone(context.api, deployment, timeout=max(1.0, deadline - time.monotonic()), what=spec_id)
    if context.as_json:
        context.show([], [], removed)


def _change(context: Context, target: Target, body: object, force: bool, wait: bool, timeout: float, done: str) -> None:
    answer, deployment = context.api.deploy("PUT", target.path, body, force=force)
    follow = _Follower(context, wait, timeout)
    if target.kind == "group":
        apps = definitions.Definitions(groups=(context.api.get(group_path(target.id)),)).app_ids()
        follow(deployment, answer, apps=apps, name=target.id, done=done)
    else:
        apps, pods = ((target.id,), ()) if target.kind == "app" else ((), (target.id,))
        follow(deployment, answer, apps=apps, pods=pods, done=done)
    follow.show()


class _Follower:
    """Tells of deployments, waits for them if that is wanted, and sums them up for programs."""

    def __init__(self, context: Context, wait: bool, timeout: float) -> None:
        self._context, self._wait, self._timeout = context, wait, timeout
        self._deadline = time.monotonic() + timeout
        self._done: list[dict[str, Any]] = []

    def __call__(
        self,
        deployment: str | None,
        answer: Any,
        *,
        done: str,
        apps: tuple[str, ...] = (),
        pods: tuple[str, ...] = (),
        name: str = "",
    ) -> None:
        say: Callable[[str], None] = self._context.say
        version = str(answer.get("version", "")) if isinstance(answer, dict) else ""
        name = name or ", ".join((*apps, *pods)) or "the group"
        self._done.append({"apps": [*apps], "pods": [*pods], "version": version, "deploymentId": deployment})
        if deployment is None:
            say(f"{name}: nothing to change")
        elif not self._wait:
            say(f"{name}: deployment {deployment} started")
        else:
            say(f"{name}: deployment {deployment}")
            left = max(1.0, self._deadline - time.monotonic())
            started = Started(deployment, version, apps, pods)
            waiting = Waiting(self._context.api, started, timeout=left, say=say).until_done()
            if waiting is None:
                say(f"{name} {done}")
            else:
                say(f"{described(waiting)}; `dromos go {deployment}` or `dromos rollback {deployment}`")

    def show(self) -> None:
        if self._context.as_json:
            self._context.show([], [], self._done[0] if len(self._done) == 1 else self._done)
