"""`key("path@dc")` and `ls`/`tree("prefix@dc")`: one value of Consul's KV store, and all below a prefix."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import orjson

from consul_template_py.errors import QuerySyntaxError
from consul_template_py.http import quote_path
from consul_template_py.query.base import HERE, At, ConsulQuery, parse_parts


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`key` is the path below the prefix that was asked for; `path` the whole one."""

    path: str
    key: str
    value: str
    create_index: int
    modify_index: int
    lock_index: int
    flags: int
    session: str


@dataclass(frozen=True, slots=True)
class KeyQuery(ConsulQuery[str | None]):
    """None where the key does not exist."""

    may_be_absent: ClassVar[bool] = True
    key: str
    at: At = HERE

    @staticmethod
    def parse(text: str) -> "KeyQuery":
        key, at = _key_and_place(text, "key")
        return KeyQuery(key, at)

    @property
    def path(self) -> str:
        return f"/kv/{quote_path(self.key)}"

    @property
    def params(self) -> Mapping[str, str]:
        return self.at.params

    def decode(self, body: bytes) -> str | None:
        return _value(orjson.loads(body)[0]["Value"])

    def absent(self) -> str | None:
        return None

    def __str__(self) -> str:
        return f"key({self.key}{self.at})"


@dataclass(frozen=True, slots=True)
class TreeQuery(ConsulQuery[tuple[KeyPair, ...]]):
    """Every key below `prefix` (a folder), in Consul's order, which is sorted. Folder entries themselves are left out."""

    may_be_absent: ClassVar[bool] = True
    prefix: str
    at: At = HERE

    @staticmethod
    def parse(text: str) -> "TreeQuery":
        prefix, at = _key_and_place(text, "tree", empty=True)
        return TreeQuery(prefix.rstrip("/"), at)

    @property
    def path(self) -> str:
        return f"/kv/{quote_path(self.prefix + '/' if self.prefix else '')}"

    @property
    def params(self) -> Mapping[str, str]:
        return {**self.at.params, "recurse": "1"}

    def decode(self, body: bytes) -> tuple[KeyPair, ...]:
        start = len(self.prefix) + 1 if self.prefix else 0
        return tuple(
            KeyPair(
                path=entry["Key"],
                key=entry["Key"][start:],
                value=_value(entry["Value"]),
                create_index=entry.get("CreateIndex", 0),
                modify_index=entry.get("ModifyIndex", 0),
                lock_index=entry.get("LockIndex", 0),
                flags=entry.get("Flags", 0),
                session=entry.get("Session") or "",
            )
            for entry in orjson.loads(body)
            if not entry["Key"].endswith("/")
        )

    def absent(self) -> tuple[KeyPair, ...]:
        return ()

    def __str__(self) -> str:
        return f"tree({self.prefix}{self.at})"


def _key_and_place(text: str, what: str, *, empty: bool = False) -> tuple[str, At]:
    # A key may hold ~ and |, which mean nothing here; only ?…=… and @datacenter end it.
    cut = min((i for i in (text.find("?"), text.rfind("@")) if i >= 0), default=len(text))
    parts = parse_parts("k" + text[cut:], what)
    key = text[:cut].lstrip("/")
    if (not key and not empty) or parts.near or parts.filters:
        raise QuerySyntaxError(f"{what}({text!r}) takes a path and ?ns=…@datacenter")
    return key, parts.at


def _value(encoded: str | None) -> str:
    # Bytes that are not UTF-8 survive as surrogates, so that writing them gives the same bytes back.
    return base64.b64decode(encoded).decode("utf-8", "surrogateescape") if encoded else ""
