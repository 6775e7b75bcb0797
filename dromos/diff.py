"""`dromos diff`: what `dromos deploy` would change, before anything is changed."""

from collections.abc import Iterator
from typing import Any

import click
import orjson

from dromos import definitions
from dromos.api import Api, Json, app_path, group_path, pod_path
from dromos.context import Context, pass_context
from dromos.definitions import Definitions, absolute
from dromos.differences import SpecDiff, spec_diff

WIDEST = 200  # characters of one value

_STYLES = {"created": "green", "changed": "yellow", "destroyed": "red", "unchanged": "bright_black"}
_SIGNS = {"+": "green", "-": "red", "~": "yellow"}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path())
@click.option("--exit-code", is_flag=True, help="exit with 1 if anything would change, for scripts")
@pass_context
def diff(context: Context, files: tuple[str, ...], exit_code: bool) -> None:
    """Show what `deploy FILE…` would create, change and destroy; changes nothing."""
    found = diff_of(context.api, definitions.load(files))
    show(context, found)
    if exit_code and any(item.change != "unchanged" for item in found):
        click.get_current_context().exit(1)


def diff_of(api: Api, wanted: Definitions) -> list[SpecDiff]:
    """Of all apps and pods that are wanted, and of those that their groups have and are wanted no more; by id."""
    found = [spec_diff("app", app_id, running_app(api, app_id), app) for app_id, app in wanted.all_apps()]
    found += [spec_diff("pod", pod_id, api.get_or_none(pod_path(pod_id)), pod) for pod_id, pod in wanted.all_pods()]
    known = {item.id for item in found}
    for group in wanted.groups:
        group_id = absolute(str(group["id"]))
        # No definition may stand for "as it is": groups leave alone what they do not name.
        running = api.get_or_none(group_path(group_id), embed=["group.groups", "group.apps", "group.pods"])
        if running is not None:
            found += [item for item in _destroyed(running, group) if item.id not in known]
    return sorted(found, key=lambda item: item.id)


def running_app(api: Api, app_id: str) -> Json | None:
    body = api.get_or_none(app_path(app_id))
    return body["app"] if body else None


def _destroyed(running: Json, wanted: Json | None) -> Iterator[SpecDiff]:
    """What a group has and its new definition does not; `wanted` None: the whole group goes."""
    here = str(running["id"])
    for kind, name in (("app", "apps"), ("pod", "pods")):
        if wanted is None or name in wanted:
            kept = {absolute(str(item.get("id")), here) for item in (wanted or {}).get(name) or []}
            for item in running.get(name) or []:
                if item["id"] not in kept:
                    yield spec_diff(kind, item["id"], item, None)  # type: ignore[arg-type]
    if wanted is None or "groups" in wanted:
        children = {absolute(str(item.get("id")), here): item for item in (wanted or {}).get("groups") or []}
        for child in running.get("groups") or []:
            yield from _destroyed(child, children.get(child["id"]))


def show(context: Context, found: list[SpecDiff]) -> None:
    """A block for each app and pod that changes, for people; all of them for programs."""
    if context.as_json:
        context.show([], [], [_as_json(item) for item in found])
        return
    for item in found:
        click.echo(f"{click.style(item.id, bold=True)}  {click.style(item.effect, fg=_STYLES[item.change])}")
        if item.change == "created":
            continue
        for one in item.differences:
            text = {
                "+": _value(one.after),
                "-": _value(one.before),
                "~": f"{_value(one.before)} → {_value(one.after)}",
            }[one.sign]
            click.echo(f"  {click.style(one.sign, fg=_SIGNS[one.sign])} {one.path}  {text}")


def _as_json(item: SpecDiff) -> Json:
    return {
        "id": item.id,
        "kind": item.kind,
        "change": item.change,
        "effect": item.effect,
        "differences": [{"path": d.path, "before": d.before, "after": d.after} for d in item.differences],
    }


def _value(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= WIDEST else text[:WIDEST] + "…"
