"""/v1/connect and /v1/query: what Consul answers where Connect is off, and where there is no prepared query."""

from embedded.consul.errors import FailedError
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, Request
from embedded.consul.http.query import Result


async def roots(context: Context, request: Request) -> Answer:
    raise FailedError("Connect must be enabled in order to use this endpoint")


async def intentions(context: Context, request: Request) -> Answer:
    return await context.query(request, lambda: Result(0, [], list))


async def queries(context: Context, request: Request) -> Answer:
    return await context.query(request, lambda: Result(0, [], list), catalog=True)
