"""The ASGI application: finds the endpoint, turns errors into answers, and answers a write only when it is on disk."""

import time
import urllib.parse
from collections import Counter as Count
from collections.abc import Callable

import prometheus_client
from starlette.types import ASGIApp, Receive, Scope, Send

from daemonkit.logs import get_logger
from embedded.consul.errors import ApiError, MethodNotAllowedError
from embedded.consul.http import routes
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, DisconnectedError, Request, header, text_answer
from embedded.consul.store import StoreError

log = get_logger(__name__)

REQUESTS = prometheus_client.Counter(
    "dromos_consul_requests_total", "Requests of the API", ["endpoint", "method", "code"]
)
SECONDS = prometheus_client.Histogram(
    "dromos_consul_request_seconds", "How long requests took that did not wait for a change", ["endpoint"]
)

_TOO_MANY = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"


class ConsulApp:
    """Everything below /v1/ is Consul's; the rest goes to `others`. `settle()` writes what is pending; it raises StoreError."""

    def __init__(
        self, context: Context, others: ASGIApp, *, settle: Callable[[], None], most_per_client: int, most_bytes: int
    ) -> None:
        self._context = context
        self._others = others
        self._settle = settle
        self._most_per_client = most_per_client
        self._most_bytes = most_bytes
        self._under_way: Count[str] = Count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if not routes.clean(scope["path"]).startswith("/v1/"):
            await self._others(scope, receive, send)
            return
        request = Request(scope, receive, most_bytes=self._most_bytes)
        client = request.client[0] if request.client else ""
        if self._most_per_client and self._under_way[client] >= self._most_per_client:
            await text_answer(_TOO_MANY, status=429).send(send)
            return
        self._under_way[client] += 1
        try:
            answer = await self._answer(request)
            await answer.send(send)
        except DisconnectedError:
            pass
        finally:
            self._under_way[client] -= 1
            if not self._under_way[client]:
                del self._under_way[client]

    async def _answer(self, request: Request) -> Answer:
        began = time.perf_counter()
        found = routes.find(request.path)
        if (cleaned := routes.clean(request.path)) != request.path and (not found or request.method != "OPTIONS"):
            query = f"?{request.raw_query}" if request.raw_query else ""
            return Answer(301, headers=[header("Location", urllib.parse.quote(cleaned) + query)])
        if found is None:
            return Answer(404)
        name = request.path[: len(request.path) - len(found.rest)]
        try:
            answer = await self._carry_out(request, found)
            if request.method != "GET":
                self._settle()
        except ApiError as error:
            answer = _refusal(error)
        except StoreError as error:
            log.error("a change could not be written", error=str(error))
            answer = text_answer(str(error), status=500)
        except DisconnectedError:
            raise
        except Exception as error:
            log.exception("request failed", path=name, method=request.method)
            answer = text_answer(f"internal error: {type(error).__name__}", status=500)
        REQUESTS.labels(name, request.method, str(answer.status)).inc()
        if not request.has("index") and not request.has("hash"):
            SECONDS.labels(name).observe(time.perf_counter() - began)
        return answer

    async def _carry_out(self, request: Request, found: routes.Found) -> Answer:
        endpoint = found.methods.get(request.method)
        if endpoint is None:
            if request.method == "OPTIONS":
                return Answer(headers=[header("Allow", ",".join(["OPTIONS", *found.methods]))])
            raise MethodNotAllowedError(request.method, list(found.methods))
        request.rest = found.rest
        return await endpoint(self._context, request)


def _refusal(error: ApiError) -> Answer:
    answer = text_answer(error.text, status=error.status)
    if isinstance(error, MethodNotAllowedError):
        answer.headers.append(header("Allow", error.allowed))
    return answer
