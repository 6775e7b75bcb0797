"""Everything about the framework itself: `/v2/info`, `/v2/leader`, `/v2/plugins`, `/ping`, `/metrics`, `/config`, `/logging`, `/help`."""

import asyncio
import logging
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from daemonkit.health import Health
from daemonkit.logs import masked
from framework.api.answers.info import info_json, own_version
from framework.api.context import api_of, json_body, json_response, require
from framework.api.errors import NotFoundError, UnprocessableError
from framework.api.forms import shapes
from framework.api.forms.type_check import check_types
from framework.api.metrics import Metrics
from framework.engine.commands import Abdicate
from framework.model import path_id

_LEVELS = {"trace": logging.DEBUG, "warn": logging.WARNING, "off": logging.CRITICAL + 1}
_for_a_while: dict[str, tuple[int, asyncio.TimerHandle]] = {}  # logger -> its level of before, and when that comes back


async def ping(request: Request) -> Response:
    if "application/json" in request.headers.get("accept", ""):
        return json_response("pong")
    return PlainTextResponse("pong")


async def info(request: Request) -> Response:
    api = api_of(request)
    return json_response(info_json(api.view, api.settings))


async def show_leader(request: Request) -> Response:
    leader = api_of(request).view.leader
    if leader is None:
        raise NotFoundError("There is no leader")
    return json_response({"leader": leader})


async def abdicate(request: Request) -> Response:
    api = api_of(request)
    require(request, "admin", path_id.ROOT)
    if "backup" in request.query_params or "restore" in request.query_params:
        # To leave it undone and answer 200 would be a backup that is missed when it is needed.
        raise UnprocessableError("backup and restore are not done on the way; run `dromos backup` instead")
    if not api.view.is_leader:
        raise NotFoundError("There is no leader")
    await api.engine.execute(Abdicate())
    return json_response({"message": "Leadership abdicated"})


async def plugins(_request: Request) -> Response:
    return json_response({"plugins": []})


async def metrics(request: Request) -> Response:
    """Prometheus' text; Marathon's JSON where `application/json` is asked for."""
    if "application/json" in request.headers.get("accept", ""):
        return json_response(_metrics(request).json())
    return await prometheus(request)


async def prometheus(request: Request) -> Response:
    text = generate_latest(REGISTRY) + generate_latest(_metrics(request).registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def health(request: Request) -> Response:
    state: Health = request.app.state.health
    return json_response(state.report(), 200 if state.healthy else 503)


async def config(request: Request) -> Response:
    """Every setting; secrets masked."""
    require(request, "admin", path_id.ROOT)
    settings: Any = api_of(request).settings.model_dump(mode="json")
    return json_response(masked(settings))


async def show_logging(_request: Request) -> Response:
    named = {
        name: logging.getLevelName(logger.level)
        for name, logger in sorted(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    return json_response({"ROOT": logging.getLevelName(logging.root.level), **named})


async def set_logging(request: Request) -> Response:
    """`durationSeconds` brings the level of before back by itself, after several such changes the one of before them all."""
    require(request, "admin", path_id.ROOT)
    given = check_types(shapes.LogLevel, await json_body(request))
    name, level, seconds = given["logger"], given["level"], given.get("durationSeconds", 0)
    logger = logging.getLogger(None if name in ("", "ROOT") else name)
    former = logger.level
    logger.setLevel(_LEVELS.get(level, level.upper()))
    if logger.name in _for_a_while:
        former, timer = _for_a_while.pop(logger.name)
        timer.cancel()
    if seconds > 0:
        timer = asyncio.get_running_loop().call_later(seconds, _bring_back, logger)
        _for_a_while[logger.name] = former, timer
    return await show_logging(request)


def _bring_back(logger: logging.Logger) -> None:
    level, _ = _for_a_while.pop(logger.name)
    logger.setLevel(level)


async def help_page(_request: Request) -> Response:
    return HTMLResponse(
        f"<!doctype html><title>Dromos {own_version()}</title><h1>Dromos {own_version()}</h1>"
        "<p>The API is Marathon's: <a href='/v2/openapi.json'>/v2/openapi.json</a> describes it. "
        "<a href='/ui/'>The web UI</a>.</p>"
    )


def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found
