"""What a name on the command line stands for: an app, a pod or a group of the API; its versions and its state."""

from dataclasses import dataclass
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

from dromos.api import DEFAULT_URL, Api, Json, app_path, group_path, pod_path
from dromos.context import Context
from dromos.definitions import absolute
from dromos.errors import CommandError

COMPLETION_SECONDS = 2.0  # a shell that waits for longer is worse than one that does not know


class SpecName(click.types.StringParamType):
    """The id of an app, a pod or a group, completed by the shell from those that the API knows."""

    name = "app"

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            url = ctx.find_root().params.get("api_url") or DEFAULT_URL
            api = Api.of_environment(url, timeout=COMPLETION_SECONDS)
            ids = [app["id"] for app in api.get("/v2/apps")["apps"]] + [pod["id"] for pod in api.get("/v2/pods")]
        except (CommandError, ValueError, KeyError, TypeError):
            return []
        given = absolute(incomplete)
        slash = incomplete.startswith("/") or not incomplete
        return [CompletionItem(i if slash else i[1:]) for i in sorted(map(str, ids)) if i.startswith(given)]


@dataclass(frozen=True)
class Target:
    """`definition` is as the API gives it."""

    kind: Literal["app", "pod", "group"]
    id: str
    definition: Json

    @property
    def path(self) -> str:
        return {"app": app_path, "pod": pod_path, "group": group_path}[self.kind](self.id)

    def versions(self, api: Api) -> list[str]:
        """Newest first."""
        path = self.path + ("::versions" if self.kind == "pod" else "/versions")
        found = api.get(path)
        return sorted(map(str, found["versions"] if self.kind == "app" else found), reverse=True)

    def at(self, api: Api, version: str) -> Json:
        """The definition in that version. Raises CommandError where it is not kept."""
        path = self.path + (f"::versions/{version}" if self.kind == "pod" else f"/versions/{version}")
        found: Json = api.get(path)
        return found

    def previous_version(self, api: Api) -> str:
        current = str(self.definition.get("version", ""))
        before = [version for version in self.versions(api) if version < current]
        if not before:
            raise CommandError(f"{self.id} has no version before the current one")
        return before[0]


def find(context: Context, name: str, *, groups: bool = False) -> Target:
    """Raises CommandError where nothing is called that."""
    spec_id, api = absolute(name), context.api
    body = api.get_or_none(app_path(spec_id)) if spec_id != "/" else None
    if body is not None:
        return Target("app", spec_id, body["app"])
    pod: Any = api.get_or_none(pod_path(spec_id)) if spec_id != "/" else None
    if pod is not None:
        return Target("pod", spec_id, pod)
    if groups:
        group = api.get_or_none(group_path(spec_id))
        if group is not None:
            return Target("group", spec_id, group)
        raise CommandError(f"no app, pod or group is called {spec_id}; see `dromos apps`")
    raise CommandError(f"App '{spec_id}' does not exist; see `dromos apps`")
