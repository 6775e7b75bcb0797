"""What the daemon shows: the page, and the JSON and charts that it is made of.

GET /                       the page
GET /apps                   `{apps: […], leads}`: each scaled app with its counts, its last decision and its bounds
GET /journal?app=&most=     decisions and non-decisions, newest last
GET /series?app=            demand against supply, a minute each
GET /chart.svg?app=         the same as a drawing; /chart.png too
"""

from dataclasses import asdict
from importlib.resources import files

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from autoscale import draw
from autoscale.autoscaler import Autoscaler
from autoscale.png import png
from autoscale.series import Point
from daemonkit.http import Json

JOURNAL_PAGE = 200
LONGEST_JOURNAL = 10_000
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def lines_of(points: list[Point]) -> list[draw.Line]:
    return [
        draw.Line("instances asked for", "#7a869a", [point.instances for point in points]),
        draw.Line("instances in rotation", "#0b6e5c", [point.in_rotation for point in points]),
        draw.Line("instances needed", "#b3261e", [point.needed for point in points]),
    ]


def routes(autoscaler: Autoscaler) -> list[Route]:
    async def apps(_request: Request) -> Response:
        return Json({"apps": autoscaler.overview(), "leads": autoscaler.leads}, headers=SECURITY)

    async def journal(request: Request) -> Response:
        text = request.query_params.get("most", "")
        most = min(LONGEST_JOURNAL, int(text)) if text.isdecimal() and len(text) < 10 else JOURNAL_PAGE
        entries = await run_in_threadpool(autoscaler.journal.of, request.query_params.get("app"), most=most)
        return Json({"journal": [asdict(entry) for entry in entries]}, headers=SECURITY)

    async def series(request: Request) -> Response:
        points = _points(autoscaler, request)
        if points is None:
            return _unknown(request)
        return Json({"series": [asdict(point) for point in points]}, headers=SECURITY)

    async def chart(request: Request) -> Response:
        points = _points(autoscaler, request)
        if points is None:
            return _unknown(request)
        title = f"{request.query_params['app']}: the last {len(points) / 60:.1f} hours"
        if request.url.path.endswith(".png"):
            image = await run_in_threadpool(png, title, lines_of(points))
            return Response(image, media_type="image/png", headers=SECURITY)
        return Response(draw.svg(title, lines_of(points)), media_type="image/svg+xml", headers=SECURITY)

    return [
        *(_asset(path, name, kind) for path, (name, kind) in ASSETS.items()),
        Route("/apps", apps),
        Route("/journal", journal),
        Route("/series", series),
        Route("/chart.svg", chart),
        Route("/chart.png", chart),
    ]


def _asset(path: str, name: str, kind: str) -> Route:
    content = files("autoscale").joinpath("assets", name).read_bytes()

    async def serve(_request: Request) -> Response:
        return Response(content, media_type=kind, headers=SECURITY)

    return Route(path, serve)


def _points(autoscaler: Autoscaler, request: Request) -> list[Point] | None:
    known = autoscaler.series.get(request.query_params.get("app", ""))
    return None if known is None else known.points()


def _unknown(request: Request) -> Response:
    return Json({"message": f"nothing is known of {request.query_params.get('app', '')[:300]}"}, 404, SECURITY)
