"""Stands before the endpoints: authentication, read-only mode, the rate limit, and the audit of every change."""

import asyncio
import hashlib
import hmac
import os
import time
from base64 import b64decode
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
from starlette.datastructures import Headers as RequestHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger
from framework.api.context import DEPLOYMENT_HEADER, json_response
from framework.api.security.accounts import EVERYBODY, Accounts, Identity, load
from framework.api.settings import ApiSettings
from framework.model.timestamp import to_text

log = get_logger(__name__)
audit_log = get_logger("dromos.audit")

_OPEN = ("/ping", "/health")  # for load balancers and supervisors; they tell nothing of apps
_READS = ("GET", "HEAD", "OPTIONS")
_MOST_REMEMBERED = 1024
_LONGEST_CREDENTIALS = 4096
_LONGEST_ORIGIN = 200


class Guard:
    def __init__(self, app: ASGIApp, *, settings: ApiSettings) -> None:
        self._app, self._settings = app, settings
        self._authentication = Authentication(settings.accounts_file) if settings.accounts_file else None
        self._rate = Rate(settings.requests_per_second) if settings.requests_per_second else None
        self._audit = Audit(settings.audit_file)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or scope["path"].startswith("/ui/"):
            await self._app(scope, receive, send)
            return
        headers = RequestHeaders(scope=scope)
        client = scope["client"][0] if scope.get("client") else ""
        identity: Identity | None = EVERYBODY
        if self._authentication is not None and scope["method"] != "OPTIONS":
            identity = await self._authentication.who(headers.get("authorization", ""))
        refusal = self._refusal(identity, scope, client)
        if identity is not None:
            scope.setdefault("state", {})["identity"] = identity
        serve: ASGIApp = self._app if refusal is None else refusal
        if scope["method"] in _READS:
            await serve(scope, receive, send)
            return
        status, deployment = 500, None

        async def sending(message: Message) -> None:
            nonlocal status, deployment
            if message["type"] == "http.response.start":
                status = message["status"]
                deployment = RequestHeaders(raw=message.get("headers", [])).get(DEPLOYMENT_HEADER)
            await send(message)

        try:
            await serve(scope, receive, sending)
        finally:
            who = identity.name if identity else "unknown"
            forwarded = headers.get("x-forwarded-for", "")[:_LONGEST_ORIGIN]
            await self._audit.note(
                who=who, client=client, forwarded=forwarded, scope=scope, status=status, deployment=deployment
            )

    def _refusal(self, identity: Identity | None, scope: Scope, client: str) -> Response | None:
        if identity is None:
            return json_response(
                {"message": "Invalid username or password."}, 401, {"WWW-Authenticate": 'Basic realm="Dromos"'}
            )
        if self._rate is not None and not self._rate.allows(f"{identity.name} {client}"):
            return json_response({"message": "Too many requests"}, 429, {"Retry-After": "1"})
        if self._settings.read_only and scope["method"] not in _READS:
            return json_response({"message": "This API is read-only"}, 403)
        return None


class Authentication:
    """Who an Authorization header speaks of. The file is read again when it changes; a broken one leaves the former in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._accounts = load(path)
        self._stamp = self._stamp_now()
        self._looked = time.monotonic()
        # Passwords that fitted, so that the slow hash is asked for once each; keyed by a digest under a key of this process.
        self._key = os.urandom(32)
        self._remembered: OrderedDict[bytes, Identity] = OrderedDict()
        self._hashing = asyncio.Semaphore(2)

    async def who(self, header: str) -> Identity | None:
        if len(header) > _LONGEST_CREDENTIALS:
            return None
        accounts = self._current()
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() == "bearer":
            return accounts.with_token(credentials.strip())
        if header.lower().startswith("token="):
            return accounts.with_token(header[6:].strip())
        if scheme.lower() != "basic":
            return None
        return await self._by_password(accounts, credentials.strip())

    async def _by_password(self, accounts: Accounts, credentials: str) -> Identity | None:
        digest = hmac.digest(self._key, credentials.encode(), hashlib.sha256)
        if digest in self._remembered:
            return self._remembered[digest]
        try:
            name, _, password = b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        async with self._hashing:
            identity = await asyncio.to_thread(accounts.with_password, name, password)
        if identity is not None and accounts is self._accounts:
            self._remembered[digest] = identity
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return identity

    def _current(self) -> Accounts:
        if time.monotonic() - self._looked >= 1.0:
            self._looked = time.monotonic()
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._reload()
        return self._accounts

    def _reload(self) -> None:
        try:
            self._accounts = load(self._path)
        except OperatorError as error:
            log.error("the accounts stay as they were", error=str(error))
        else:
            self._remembered.clear()
            log.info("accounts reloaded", accounts=len(self._accounts.by_name))

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


class Rate:
    """A bucket of tokens for each caller: so many a second, and twice as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._most = per_second, max(1.0, 2 * per_second)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        now = time.monotonic()
        tokens, then = self._buckets.pop(caller, (self._most, now))
        tokens = min(self._most, tokens + (now - then) * self._per_second)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _MOST_REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed


class Audit:
    """One line for every request that is no read: who, from where, what, with what result. Into the log and, if set, a file.

    `forwardedFor` is what a standby or another proxy says of where the request came from; `client` is who connected.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="audit")  # one, so that lines keep their order

    async def note(
        self, *, who: str, client: str, forwarded: str, scope: Scope, status: int, deployment: str | None
    ) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        entry = {
            "who": who,
            "client": client,
            **({"forwardedFor": forwarded} if forwarded else {}),
            "method": scope["method"],
            "path": scope["path"],
            "query": query,
            "status": status,
            "deployment": deployment,
        }
        audit_log.info("change", **entry)
        if self._path is not None:
            line = orjson.dumps({"time": to_text(time.time()), **entry}) + b"\n"
            try:
                await asyncio.get_running_loop().run_in_executor(self._writing, _append, self._path, line)
            except OSError as error:
                log.error("the audit file cannot be written", path=str(self._path), error=str(error))


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
