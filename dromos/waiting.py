"""Following a deployment to its end: done, failed, cancelled, or not in time; and the reasons that the server gives."""

import time
from collections.abc import Callable
from typing import Any

from dromos.api import Api, Json, app_path
from dromos.errors import CommandError, DeploymentFailedError, NotReachableError

POLL_SECONDS = 0.5
OUTAGE_SECONDS = 60.0  # how long the API may be away (a leader change, a restart) before waiting ends


def wait_for(
    api: Api,
    deployment_id: str,
    version: str,
    app_ids: tuple[str, ...],
    *,
    timeout: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when the deployment has brought all apps to `version`. Raises DeploymentFailedError with what is known of the cause."""
    deadline = clock() + timeout
    reached = clock()
    shown = ""
    while True:
        try:
            running = any(item.get("id") == deployment_id for item in api.get("/v2/deployments"))
            apps = [(app_id, _app(api, app_id)) for app_id in app_ids]
            reached = clock()
        except NotReachableError:
            if clock() - reached > OUTAGE_SECONDS:
                raise
            sleep(POLL_SECONDS)
            continue
        progress = ", ".join(f"{app_id} {_progress(app)}" for app_id, app in apps)
        if progress != shown:
            say(progress)
            shown = progress
        if not running:
            _check(api, deployment_id, version, apps)
            return
        if clock() > deadline:
            raise DeploymentFailedError(
                f"deployment {deployment_id} is not done after {timeout:g} s and goes on; {reasons(api, app_ids)}"
            )
        sleep(POLL_SECONDS)


def reasons(api: Api, app_ids: tuple[str, ...]) -> str:
    """Why apps wait or fail, in one line: refused offers and the last failure of each."""
    found = []
    for item in api.get("/v2/queue").get("queue", []):
        app_id = (item.get("app") or {}).get("id")
        if app_id in app_ids:
            found.append(f"{app_id} waits for {item.get('count', '?')} instances{_refusals(item)}")
    for app_id in app_ids:
        failure = (_app(api, app_id) or {}).get("lastTaskFailure")
        if failure:
            found.append(f"{app_id}: last failure {failure.get('state')}: {failure.get('message')}")
    return "; ".join(found) or "no reason is known"


def _refusals(item: Json) -> str:
    summary = (item.get("processedOffersSummary") or {}).get("rejectSummaryLastOffers") or []
    refused = [f"{entry['reason']} {entry['declined']}×" for entry in summary if entry.get("declined")]
    delay = (item.get("delay") or {}).get("timeLeftSeconds", 0)
    parts = ([f"offers refused: {', '.join(refused)}"] if refused else []) + (
        [f"next try in {delay} s"] if delay else []
    )
    return f" ({'; '.join(parts)})" if parts else ""


def _app(api: Api, app_id: str) -> Any:
    body = api.get_or_none(app_path(app_id))
    return body and body["app"]


def _progress(app: Json | None) -> str:
    return f"{_ready(app)}/{app['instances']}" if app else "gone"


def _ready(app: Json) -> int:
    return int(app["tasksHealthy"] if app.get("healthChecks") else app["tasksRunning"])


def _check(api: Api, deployment_id: str, version: str, apps: list[tuple[str, Json | None]]) -> None:
    for app_id, app in apps:
        try:
            if app is None:
                raise CommandError(f"{app_id} does not exist any more")
            if app["version"] < version:
                raise CommandError(
                    f"{app_id} is at version {app['version']}: the deployment was cancelled or rolled back"
                )
            if not app.get("deployments") and _ready(app) < app["instances"]:
                raise CommandError(f"{app_id} has {_ready(app)} of {app['instances']} instances ready")
        except CommandError as error:
            raise DeploymentFailedError(
                f"deployment {deployment_id} failed: {error}; {reasons(api, (app_id,))}"
            ) from None
