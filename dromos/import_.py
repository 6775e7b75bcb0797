"""`dromos import --from http://marathon:8080`: groups, apps and pods, with their labels, of a live Marathon.

It only creates and changes: what the Marathon does not have is left alone, so it may be run as often as one likes. The Marathon is only
read. Both run the same apps afterwards; `--suspended` takes the definitions over with no instances, to be scaled up as Marathon's go.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from daemonkit.addresses import without_credentials
from dromos import diff
from dromos.api import Api, group_path, pod_path
from dromos.context import Context, pass_context
from dromos.definitions import Definitions
from dromos.differences import canonical
from dromos.errors import CommandError
from dromos.marathon_documents import (
    GroupSettings,
    Json,
    app_definition,
    group_settings,
    in_order,
    pod_definition,
    portions,
    suspended,
)

PORTION = 1024 * 1024  # bytes of one request; a quarter of what the API takes by default


@click.command("import")
@click.option("--from", "source", required=True, metavar="URL", help="the Marathon: http://[user:password@]host:8080")
@click.option("--dry-run", is_flag=True, help="show what would differ; change nothing")
@click.option("--suspended", "without_instances", is_flag=True, help="with no instances; those of apps that exist stay")
@click.option(
    "--skip-invalid", is_flag=True, help="leave out what cannot be taken over, instead of taking nothing over"
)
@click.option("--force", is_flag=True, help="cancel deployments that are in the way")
@click.option("--yes", is_flag=True, help="do not ask")
@pass_context
def import_marathon(
    context: Context,
    source: str,
    dry_run: bool,
    without_instances: bool,
    skip_invalid: bool,
    force: bool,
    yes: bool,
) -> None:
    """Take groups, apps and pods of a live Marathon over; deletes nothing, changes nothing in that Marathon."""
    found, groups = _read(source)
    wanted, problems = _valid(found)
    if without_instances:
        wanted = _without_instances(context.api, wanted)
    group_changes = _group_changes(context.api, groups)
    changes = [item for item in diff.diff_of(context.api, wanted) if item.change != "unchanged"]
    if not context.as_json or dry_run:
        diff.show(context, changes)
        for group in group_changes:
            context.say(f"group {group.id}: depends on {', '.join(group.dependencies) or 'nothing'}{_roles(group)}")
    for problem in problems:
        click.echo(f"cannot be taken over: {problem}", err=True)
    if dry_run:
        unchanged = len(wanted.apps) + len(wanted.pods) - len(changes)
        context.say(f"{len(changes)} would change, {unchanged} are the same, {len(problems)} cannot be taken over")
        return
    if problems and not skip_invalid:
        raise CommandError(
            f"{len(problems)} of {_size(found)} cannot be taken over; mend them, or leave them out by --skip-invalid"
        )
    if not changes and not group_changes:
        context.say("nothing to change")
        deployments: list[str] = []
    else:
        if not yes:
            click.confirm("Apply?", abort=True, err=True)
        changing = {item.id for item in changes}
        deployments = _apply(context.api, _only(wanted, changing), group_changes, force)
        context.say(f"{len(changes)} taken over by {len(deployments)} deployments")
    if context.as_json:
        context.show(
            [], [], {"changed": [item.id for item in changes], "deployments": deployments, "problems": problems}
        )


def _read(source: str) -> tuple[Definitions, list[GroupSettings]]:
    """Everything that the Marathon declares."""
    api = _api(source)
    apps = [app_definition(answer) for answer in api.get("/v2/apps")["apps"]]
    pods = [pod_definition(answer) for answer in api.get_or_none("/v2/pods") or []]  # a Marathon before 1.4 has none
    root = api.get("/v2/groups", embed=["group.groups"])
    return Definitions(apps=tuple(in_order(apps)), pods=tuple(pods)), list(group_settings(root))


def _api(source: str) -> Api:
    """The password is taken out of the URL, which messages show."""
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError("flag --from: give the Marathon's address, http://host:8080")
    api = Api(without_credentials(source))
    if parts.username is not None:
        api.login(parts.username, parts.password or "")
    return api


def _valid(found: Definitions) -> tuple[Definitions, list[str]]:
    """What can be taken over, and why the rest cannot."""
    problems: list[str] = []

    def fits(kind: Any, definition: Json) -> bool:
        try:
            canonical(kind, str(definition["id"]), definition, definition.get("role") or "*")
        except CommandError as error:
            problems.append(str(error))
            return False
        if definition.get("storeUrls"):
            problems.append(f"{definition['id']}: /storeUrls is not known any more; use fetch")
            return False
        return True

    apps = tuple(app for app in found.apps if fits("app", app))
    return Definitions(apps=apps, pods=tuple(pod for pod in found.pods if fits("pod", pod))), problems


def _without_instances(api: Api, wanted: Definitions) -> Definitions:
    """New ones have none; the others keep as many as they have."""

    def known(definition: Json, running: Json | None) -> Json:
        if running is None:
            return suspended(definition)
        if "containers" in definition:
            return {**definition, "scaling": running.get("scaling") or definition.get("scaling")}
        return {**definition, "instances": running["instances"]}

    return replace(
        wanted,
        apps=tuple(known(app, diff.running_app(api, app["id"])) for app in wanted.apps),
        pods=tuple(known(pod, api.get_or_none(pod_path(pod["id"]))) for pod in wanted.pods),
    )


def _group_changes(api: Api, groups: list[GroupSettings]) -> list[GroupSettings]:
    """Those whose own settings differ, or that are not there."""
    present = {group.id: group for group in group_settings(api.get("/v2/groups", embed=["group.groups"]))}

    def differs(group: GroupSettings) -> bool:
        other = present.get(group.id)
        if other is None:
            return True
        roles = group.enforce_role is not None and bool(group.enforce_role) != bool(other.enforce_role)
        return group.dependencies != other.dependencies or roles

    return [group for group in groups if differs(group)]


def _only(wanted: Definitions, ids: set[str]) -> Definitions:
    return Definitions(
        apps=tuple(app for app in wanted.apps if app["id"] in ids),
        pods=tuple(pod for pod in wanted.pods if pod["id"] in ids),
    )


def _apply(api: Api, wanted: Definitions, groups: list[GroupSettings], force: bool) -> list[str]:
    """Groups, then what is in them, then what the groups depend on, which has to be there."""
    ids: list[str | None] = []
    settled: set[str] = set()
    for group in groups:
        if api.get_or_none(group_path(group.id)) is None:
            body = {"id": group.id, **({"enforceRole": True} if group.enforce_role else {})}
            ids.append(api.deploy("POST", "/v2/groups", body, force=force)[1])
            settled |= set() if group.dependencies else {group.id}
    for pod in wanted.pods:
        exists = api.get_or_none(pod_path(pod["id"])) is not None
        method, path = ("PUT", pod_path(pod["id"])) if exists else ("POST", "/v2/pods")
        ids.append(api.deploy(method, path, pod, force=force)[1])
    for portion in portions(list(wanted.apps), PORTION, lambda app: len(orjson.dumps(app))):
        ids.append(api.deploy("PUT", "/v2/apps", portion, force=force, partialUpdate=False)[1])
    for group in groups:
        if group.id in settled:
            continue
        body = {"dependencies": list(group.dependencies)}
        if group.enforce_role is not None:
            body["enforceRole"] = group.enforce_role
        ids.append(api.deploy("PUT", group_path(group.id), body, force=force)[1])
    return [deployment for deployment in ids if deployment]


def _roles(group: GroupSettings) -> str:
    return "" if group.enforce_role is None else f", enforceRole {str(group.enforce_role).lower()}"


def _size(found: Definitions) -> int:
    return len(found.apps) + len(found.pods)
