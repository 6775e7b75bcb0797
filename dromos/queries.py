"""The commands that show: apps, tasks, versions, deployments, queue, events."""

from typing import Any

import click
import orjson

from dromos.api import Json, app_path
from dromos.context import Context, pass_context
from dromos.definitions import absolute
from dromos.reasons import spec_of, why_waiting
from dromos.rollouts import described, specs_of
from dromos.specs import SpecName, find


@click.command()
@click.option("--label", help="only apps whose labels match, e.g. 'team==shop'")
@pass_context
def apps(context: Context, label: str | None) -> None:
    """The apps: how many instances are wanted, run and are healthy."""
    found = sorted(
        context.api.get("/v2/apps", label=label, embed="apps.counts")["apps"], key=lambda app: str(app["id"])
    )
    rows = [
        (
            app["id"],
            app["instances"],
            app["tasksRunning"],
            _health(app),
            app["cpus"],
            app["mem"],
            status_of(app),
            app["version"],
        )
        for app in found
    ]
    context.show(rows, ("APP", "INSTANCES", "RUNNING", "HEALTHY", "CPUS", "MEM", "STATUS", "VERSION"), found)


@click.command()
@click.argument("app", required=False, type=SpecName())
@pass_context
def tasks(context: Context, app: str | None) -> None:
    """The tasks of APP, or of all apps."""
    embed = ["apps.tasks", "apps.rotation"]  # a Marathon passes over what it does not know
    apps = (
        [context.api.get(app_path(app), embed=embed)["app"]]
        if app
        else context.api.get("/v2/apps", embed=embed)["apps"]
    )
    found: list[Json] = [task for one in apps for task in one.get("tasks") or []]
    rotation = {id: state for one in apps for state, ids in (one.get("rotation") or {}).items() for id in ids}
    if context.as_json:
        found = [{**task, **({rotation[task["id"]]: True} if task["id"] in rotation else {})} for task in found]
    rows = [
        (
            task["id"],
            task["appId"],
            task.get("host"),
            " ".join(map(str, task.get("ports") or [])),
            task.get("state"),
            rotation.get(task["id"]) or _task_health(task),
            task.get("startedAt") or task.get("stagedAt"),
        )
        for task in sorted(found, key=lambda task: (str(task["appId"]), str(task["id"])))
    ]
    context.show(rows, ("TASK", "APP", "HOST", "PORTS", "STATE", "HEALTH", "SINCE"), found)


@click.command()
@pass_context
def deployments(context: Context) -> None:
    """The deployments that are running."""
    found: list[Json] = context.api.get("/v2/deployments")
    rows = [
        (
            item["id"],
            " ".join(specs_of(item)),
            f"{item.get('currentStep')}/{item.get('totalSteps')}",
            described(item)
            or ", ".join(
                f"{action['action']} {action.get('app') or action.get('pod')}"
                for action in item.get("currentActions") or []
            ),
            item["version"],
        )
        for item in found
    ]
    context.show(rows, ("DEPLOYMENT", "APPS", "STEP", "DOING", "VERSION"), found)


@click.command()
@click.argument("app", required=False, type=SpecName())
@pass_context
def queue(context: Context, app: str | None) -> None:
    """What waits for resources or for its back-off, and why; of APP, or of all."""
    found: list[Json] = context.api.get("/v2/queue")["queue"]
    if app:
        found = [item for item in found if spec_of(item).get("id") == absolute(app)]
    rows = [
        (spec_of(item).get("id"), item.get("count"), item.get("since"), why_waiting(item))
        for item in sorted(found, key=lambda item: str(spec_of(item).get("id")))
    ]
    for item in found:
        item["why"] = why_waiting(item)
    context.show(rows, ("APP", "WAITING", "SINCE", "WHY"), found)


@click.command()
@click.argument("app", type=SpecName())
@pass_context
def versions(context: Context, app: str) -> None:
    """The versions of APP (an app, a pod or a group) that `dromos rollback` can bring back, newest first."""
    target = find(context, app, groups=True)
    current = str(target.definition.get("version", ""))
    found = target.versions(context.api)
    context.show(
        [(version, "current" if version == current else "") for version in found],
        ("VERSION", ""),
        [{"version": version, "current": version == current} for version in found],
    )


@click.command()
@click.option("--type", "types", multiple=True, metavar="TYPE", help="only events of this type; repeatable")
@click.option("--after", metavar="ID", help="first those that came after the event with this id")
@pass_context
def events(context: Context, types: tuple[str, ...], after: str | None) -> None:
    """Follow the event stream until interrupted."""
    for event in context.api.events(types, after):
        if context.as_json:
            click.echo(event.data)
            continue
        data = orjson.loads(event.data)
        subject = next(
            (
                str(data[key])
                for key in ("taskId", "instanceId", "appId", "runSpecId", "id", "groupId")
                if data.get(key)
            ),
            "",
        )
        detail = next(
            (str(data[key]) for key in ("taskStatus", "condition", "message", "reason", "uri") if data.get(key)), ""
        )
        click.echo(f"{data.get('timestamp', '')}  {event.type:<34} {subject}  {detail}".rstrip())


def status_of(app: Json) -> str:
    """The word that Marathon's UI would show."""
    if app.get("deployments"):
        return "Deploying"
    if app["instances"] == 0:
        return "Suspended"
    if app["tasksRunning"] < app["instances"]:
        return "Waiting"
    return "Running" if not app["tasksUnhealthy"] else "Unhealthy"


def _health(app: Json) -> object:
    return app["tasksHealthy"] if app.get("healthChecks") else "-"


def _task_health(task: dict[str, Any]) -> str:
    results = task.get("healthCheckResults") or []
    if not results:
        return "-"
    return "healthy" if all(result.get("alive") for result in results) else "unhealthy"
