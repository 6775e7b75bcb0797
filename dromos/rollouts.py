"""Deployments that try a new version first (canary, blue/green), as `dromos go` and `dromos rollback` name them."""

from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem

from dromos.api import DEFAULT_URL, Api, Json
from dromos.definitions import absolute
from dromos.errors import CommandError
from dromos.specs import COMPLETION_SECONDS

WAITS = "waiting for go"


class RolloutName(click.types.StringParamType):
    """The id of a deployment that waits for a go, or of an app or pod in it, completed by the shell."""

    name = "deployment|app"

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            url = ctx.find_root().params.get("api_url") or DEFAULT_URL
            api = Api.of_environment(url, timeout=COMPLETION_SECONDS)
            waiting = [one for one in api.get("/v2/deployments") if waits_for_go(one)]
            names = [str(one["id"]) for one in waiting] + [spec_id for one in waiting for spec_id in specs_of(one)]
        except (CommandError, ValueError, KeyError, TypeError):
            return []
        bare = incomplete and not incomplete.startswith("/")
        known = sorted({name.removeprefix("/") if bare else name for name in names})
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def rollouts_in(deployment: Json) -> Iterator[tuple[str, Json]]:
    """App or pod id, and how far its roll-out is. A Marathon has none."""
    for action in deployment.get("currentActions") or []:
        if isinstance(action.get("rollout"), dict):
            yield str(action.get("app") or action.get("pod")), action["rollout"]


def waits_for_go(deployment: Json) -> bool:
    """Whether all that is tried in it waits."""
    states = [rollout.get("state") for _, rollout in rollouts_in(deployment)]
    return bool(states) and all(state == WAITS for state in states)


def specs_of(deployment: Json) -> tuple[str, ...]:
    return (*(deployment.get("affectedApps") or []), *(deployment.get("affectedPods") or []))


def find_rollout(api: Api, name: str) -> Json | None:
    """The running deployment that is called so, or that tries a new version of the app or pod that is."""
    spec_id, running = absolute(name), api.get("/v2/deployments")
    for deployment in running:
        if deployment.get("id") == name:
            return dict(deployment)
    return next((one for one in running if spec_id in [tried for tried, _ in rollouts_in(one)]), None)


def described(deployment: Json) -> str:
    """`/web waits for its go (canary, share 1 of 2: 5 %)`, one line; empty where nothing is tried."""
    parts = []
    for spec_id, rollout in rollouts_in(deployment):
        shares, phase = rollout.get("shares") or [], int(rollout.get("phase") or 1)
        share = f", share {phase} of {len(shares)}: {shares[phase - 1]:g} %" if len(shares) > 1 else ""
        state = "waits for its go" if rollout.get("state") == WAITS else f"is {rollout.get('state')}"
        parts.append(f"{spec_id} {state} ({rollout.get('strategy')}{share})")
    return ", ".join(parts)
