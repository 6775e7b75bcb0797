"""Serves the bundled UI at /ui/, under a Content-Security-Policy that lets in nothing from elsewhere and nothing inline."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

DIST = Path(__file__).parent / "dist"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "index.html": ("index.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The names carry no hash: the browser asks each time, and is told 304 by the ETag.
    "Cache-Control": "no-cache",
}


def ui_routes(dist: Path = DIST) -> list[BaseRoute]:
    """`/` and `/ui` lead to `/ui/`. 503 with the mend where the bundle was not built."""

    async def file(request: Request) -> Response:
        found = FILES.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("Not found", status_code=404, headers=HEADERS)
        name, media_type = found
        if not (dist / name).exists():
            return PlainTextResponse("The UI was not built; run `make ui`.", status_code=503, headers=HEADERS)
        response = FileResponse(dist / name, media_type=media_type, headers=HEADERS)
        response.set_stat_headers((dist / name).stat())
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={**HEADERS, "ETag": response.headers["etag"]})
        return response

    async def to_ui(_request: Request) -> Response:
        # Relative, so that a proxy's leading path stays.
        return RedirectResponse("ui/")

    return [Route("/", to_ui), Route("/ui", to_ui), Route("/ui/{name:path}", file)]
