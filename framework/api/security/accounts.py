"""Accounts and what they may do, from a TOML file that holds no secret in clear.

    [jenkins]
    password = "scrypt:16384:8:1:…:…"          # Basic authentication, name and password
    allow = ["view /", "create /prod", "update /prod", "delete /prod/web"]

    [deploy-bot]
    token = "sha256:…"                          # `Authorization: Bearer …` or `token=…`
    allow = ["all /"]

A permission is a verb and a path, and holds for the path and all below it. Verbs: view, create, update, delete; `all` is these
four; `admin` (path `/`) is for leadership, log levels and configuration. `hashed_password` and `hashed_token` make the entries.
"""

import functools
import hashlib
import hmac
import os
import re
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from daemonkit.errors import OperatorError
from framework.model import path_id

Verb = Literal["view", "create", "update", "delete", "admin"]
VERBS: tuple[Verb, ...] = get_args(Verb)
_ALL: tuple[Verb, ...] = ("view", "create", "update", "delete")
_PERMISSION = re.compile(rf"(?P<verb>all|{'|'.join(VERBS)})\s+(?P<path>/\S*)")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. `grants` are (verb, path) pairs."""

    name: str
    grants: frozenset[tuple[str, str]]

    def may(self, verb: Verb, path: str) -> bool:
        return any((verb, above) in self.grants for above in (path, *path_id.ancestors(path)))


EVERYBODY = Identity("anonymous", frozenset((verb, path_id.ROOT) for verb in VERBS))


@dataclass(frozen=True, slots=True)
class Account:
    identity: Identity
    password: str | None = None  # hashed
    token: str | None = None  # hashed


@dataclass(frozen=True, slots=True)
class Accounts:
    by_name: Mapping[str, Account]
    by_token: Mapping[str, Account]

    def with_password(self, name: str, password: str) -> Identity | None:
        """Takes some tens of milliseconds by design: for a thread."""
        account = self.by_name.get(name)
        hashed = account.password if account and account.password else _nobodys_password()
        # An unknown name takes as long as a known one.
        return account.identity if fits(password, hashed) and account is not None else None

    def with_token(self, token: str) -> Identity | None:
        account = self.by_token.get(hashed_token(token))
        return account.identity if account else None


def load(path: Path) -> Accounts:
    """Raises OperatorError with what is wrong where."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"accounts file {path} cannot be read: {error}") from None
    accounts = [_account(name, entry, path) for name, entry in document.items()]
    _nobodys_password()  # so that the first unknown name takes no longer than the next
    return Accounts(
        {account.identity.name: account for account in accounts},
        {account.token: account for account in accounts if account.token},
    )


def hashed_password(password: str) -> str:
    salt, n, r, p = os.urandom(16), 16384, 8, 1
    digest = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p)
    return f"scrypt:{n}:{r}:{p}:{b64encode(salt).decode()}:{b64encode(digest).decode()}"


def hashed_token(token: str) -> str:
    """Plain SHA-256 is enough for what is long and random, and quick enough for every request."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def fits(password: str, hashed: str) -> bool:
    _, n, r, p, salt, digest = hashed.split(":")
    made = hashlib.scrypt(password.encode(), salt=b64decode(salt), n=int(n), r=int(r), p=int(p))
    return hmac.compare_digest(made, b64decode(digest))


@functools.cache
def _nobodys_password() -> str:
    return hashed_password(os.urandom(16).hex())


def _account(name: str, entry: Any, path: Path) -> Account:
    where = f"accounts file {path}, [{name}]"
    if not isinstance(entry, dict) or ":" in name:
        raise OperatorError(f"{where}: an account is a table, its name without a colon")
    password, token, allow = entry.get("password"), entry.get("token"), entry.get("allow", [])
    if not password and not token:
        raise OperatorError(f"{where}: give `password` or `token`, hashed")
    if password is not None and not _is_hashed_password(password):
        raise OperatorError(f"{where}: `password` is to be hashed: scrypt:n:r:p:salt:digest")
    if token is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", str(token)):
        raise OperatorError(f"{where}: `token` is to be hashed: sha256:<64 hexadecimal digits>")
    if not isinstance(allow, list):
        raise OperatorError(f"{where}: `allow` is a list of permissions")
    grants: set[tuple[str, str]] = set()
    for permission in allow:
        match = _PERMISSION.fullmatch(str(permission).strip())
        if match is None:
            raise OperatorError(
                f"{where}: permission {permission!r} is to be `view|create|update|delete|all|admin /path`"
            )
        verbs = _ALL if match["verb"] == "all" else (match["verb"],)
        grants |= {(verb, path_id.canonical(match["path"])) for verb in verbs}
    return Account(Identity(name, frozenset(grants)), password, token)


def _is_hashed_password(text: object) -> bool:
    try:
        fits("", str(text))
    except (ValueError, TypeError, OverflowError, MemoryError):
        return False
    return True
