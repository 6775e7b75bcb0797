"""What a token may do: rules in Consul's language (HCL, or the same as JSON), and the decision for one name.

    key_prefix "app/" { policy = "read" }      all keys that begin so
    service "web"     { policy = "write" }     this one
    operator = "read"                          resources without names

The rule of the very name decides, else that of its longest prefix; where several policies have one, deny goes before write before
read. What no rule decides, the default does.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from embedded.consul.errors import FailedError

DENY, READ, LIST, WRITE = "deny", "read", "list", "write"
NAMED = ("agent", "event", "key", "node", "query", "service", "session")
UNNAMED = ("acl", "keyring", "operator")

_GRANTS = {DENY: frozenset[str](), READ: frozenset({READ}), LIST: frozenset({READ, LIST})}
_GRANTS[WRITE] = frozenset({READ, LIST, WRITE})
_STRENGTH = (READ, LIST, WRITE, DENY)
_TOKENS = re.compile(
    r'\s+|#[^\n]*|//[^\n]*|/\*.*?\*/|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<word>[\w.-]+)|(?P<mark>[{}=,:\[\]])', re.S
)


@dataclass
class Rules:
    """`exact` and `prefixes`: resource -> name -> policy; `unnamed`: resource -> policy."""

    exact: dict[str, dict[str, str]] = field(default_factory=dict)
    prefixes: dict[str, dict[str, str]] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Rules") -> None:
        for mine, theirs in ((self.exact, other.exact), (self.prefixes, other.prefixes)):
            for resource, policies in theirs.items():
                for name, policy in policies.items():
                    _stronger(mine.setdefault(resource, {}), name, policy)
        for resource, policy in other.unnamed.items():
            _stronger(self.unnamed, resource, policy)


class Authorizer:
    """Decides for one token. `allow(resource, access, name)`: access is read, list or write."""

    def __init__(self, rules: Rules, default: bool) -> None:
        self._rules = rules
        self._default = default

    @property
    def allows_all(self) -> bool:
        return False

    def allow(self, resource: str, access: str, name: str = "") -> bool:
        policy = self._policy(resource, name)
        return self._default if policy is None else access in _GRANTS[policy]

    def allow_below(self, prefix: str) -> bool:
        """Whether every key that begins so may be written."""
        policy = self._policy("key", prefix, whole_prefix=True)
        if not (self._default if policy is None else policy == WRITE):
            return False
        for rules in (self._rules.exact, self._rules.prefixes):
            for name, each in rules.get("key", {}).items():
                if name.startswith(prefix) and each != WRITE:
                    return False
        return True

    def _policy(self, resource: str, name: str, *, whole_prefix: bool = False) -> str | None:
        if resource in UNNAMED:
            return self._rules.unnamed.get(resource)
        exact = self._rules.exact.get(resource, {})
        if name in exact and not whole_prefix:
            return exact[name]
        prefixes = self._rules.prefixes.get(resource)
        if not prefixes:
            return None
        longest = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)
        return None if longest is None else prefixes[longest]


class AllowAll(Authorizer):
    def __init__(self) -> None:
        super().__init__(Rules(), True)

    @property
    def allows_all(self) -> bool:
        return True


ALLOW_ALL = AllowAll()


def authorizer(texts: Iterable[str], default: bool) -> Authorizer:
    """The decisions of a token with all these rules."""
    rules = Rules()
    for text in texts:
        rules.add(parse_rules(text))
    return Authorizer(rules, default)


def service_identity(service: str) -> str:
    """The rules of a token that is a service's."""
    name, sidecar = json.dumps(service), json.dumps(f"{service}-sidecar-proxy")
    return (
        f'service {name} {{ policy = "write" }} service {sidecar} {{ policy = "write" }}'
        ' service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
    )


@lru_cache(maxsize=512)
def parse_rules(text: str) -> Rules:
    """Raises FailedError with one line."""
    content = text.strip()
    try:
        tree = json.loads(content) if content.startswith("{") else _Hcl(content).tree()
    except (ValueError, RecursionError) as error:
        raise FailedError(f"Failed to parse ACL rules: {error}") from None
    if not isinstance(tree, dict):
        raise FailedError("Failed to parse ACL rules: an object is to be at the top")
    rules = Rules()
    for resource, value in tree.items():
        if resource in UNNAMED:
            rules.unnamed[resource] = _checked(resource, value, value)
        kind, is_prefix = resource.removesuffix("_prefix"), resource.endswith("_prefix")
        if kind in NAMED:
            for name, block in _blocks(value):
                policy = block.get("policy") if isinstance(block, dict) else None
                side = rules.prefixes if is_prefix else rules.exact
                _stronger(side.setdefault(kind, {}), name, _checked(kind, policy, name))
    return rules


def _blocks(value: Any) -> Iterable[tuple[str, Any]]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield from item.items()


def _checked(resource: str, policy: Any, what: Any) -> str:
    known = _GRANTS if resource == "key" else (DENY, READ, WRITE)
    if not isinstance(policy, str) or policy not in known:
        raise FailedError(f"Invalid {resource} policy: {json.dumps(what)} has policy {json.dumps(policy)}")
    return policy


def _stronger(policies: dict[str, str], name: str, policy: str) -> None:
    before = policies.get(name)
    if before is None or _STRENGTH.index(policy) > _STRENGTH.index(before):
        policies[name] = policy


class _Hcl:
    """The part of HCL that rules use: `name = value`, `name { … }`, `name "label" { … }`, comments."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKENS.match(text, at)
            if not found:
                raise ValueError(f"{self._place(text, at)}: illegal character")
            if found.lastgroup:
                self._tokens.append((found.lastgroup, found.group(), at))
            at = found.end()
        self._text, self._at = text, 0

    def tree(self) -> dict[str, Any]:
        tree = self._body()
        if self._at < len(self._tokens):
            raise ValueError(f"{self._here()}: unexpected {self._tokens[self._at][1]}")
        return tree

    def _body(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while self._kind() in ("word", "string"):
            name = self._name()
            if self._taken("="):
                result[name] = self._value()
            elif self._kind() == "string":
                label = self._name()
                self._expect("{")
                result.setdefault(name, {}).setdefault(label, {}).update(self._block())
            else:
                self._expect("{")
                result[name] = self._block()
            self._taken(",")
        return result

    def _block(self) -> dict[str, Any]:
        body = self._body()
        if self._at >= len(self._tokens):
            raise ValueError(f"{self._here()}: object expected closing RBRACE got: EOF")
        self._expect("}")
        return body

    def _value(self) -> Any:
        if self._taken("{"):
            return self._block()
        if self._kind() not in ("word", "string"):
            raise ValueError(f"{self._here()}: a value is expected")
        return self._name()

    def _name(self) -> str:
        kind, text, _ = self._tokens[self._at]
        self._at += 1
        return str(json.loads(text)) if kind == "string" else text

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _taken(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][:2] == ("mark", mark):
            self._at += 1
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._taken(mark):
            raise ValueError(f"{self._here()}: {mark} is expected")

    def _here(self) -> str:
        at = self._tokens[self._at][2] if self._at < len(self._tokens) else len(self._text)
        return self._place(self._text, at)

    @staticmethod
    def _place(text: str, at: int) -> str:
        return f"At {text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"
