"""How Go sees values: what is true, how they print, what fields they have, how they compare (text/template, fmt). Pure."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from consul_template_py.errors import TemplateError
from consul_template_py.query import (
    CaRoot,
    Check,
    KeyPair,
    Node,
    NodeService,
    NodeWithServices,
    ServiceInstance,
    ServiceSummary,
)
from consul_template_py.query.vault import Secret


class NoValue:
    """A key that a map does not have: prints as `<no value>`, and is false."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = NoValue()

# consul-template's structs, by Go's names.
FIELDS: dict[type, dict[str, str]] = {
    ServiceSummary: {"Name": "name", "Tags": "tags"},
    ServiceInstance: {
        "ID": "id",
        "Name": "name",
        "Node": "node",
        "NodeID": "node_id",
        "NodeAddress": "node_address",
        "NodeDatacenter": "datacenter",
        "NodeTaggedAddresses": "node_tagged_addresses",
        "NodeMeta": "node_meta",
        "ServiceMeta": "meta",
        "ServiceTaggedAddresses": "tagged_addresses",
        "Address": "address",
        "Port": "port",
        "Tags": "tags",
        "Status": "status",
        "Checks": "checks",
        "Weights": "weights",
    },
    Check: {
        "Node": "node",
        "CheckID": "id",
        "Name": "name",
        "Status": "status",
        "Notes": "notes",
        "Output": "output",
        "ServiceID": "service_id",
        "ServiceName": "service_name",
    },
    Node: {
        "ID": "id",
        "Node": "name",
        "Address": "address",
        "Datacenter": "datacenter",
        "TaggedAddresses": "tagged_addresses",
        "Meta": "meta",
    },
    NodeWithServices: {"Node": "node", "Services": "services"},
    NodeService: {
        "ID": "id",
        "Service": "name",
        "Tags": "tags",
        "Meta": "meta",
        "Address": "address",
        "Port": "port",
    },
    KeyPair: {
        "Path": "path",
        "Key": "key",
        "Value": "value",
        "CreateIndex": "create_index",
        "ModifyIndex": "modify_index",
        "LockIndex": "lock_index",
        "Flags": "flags",
        "Session": "session",
    },
    Secret: {
        "RequestID": "request_id",
        "LeaseID": "lease_id",
        "LeaseDuration": "lease_duration",
        "Renewable": "renewable",
        "Data": "data",
    },
    CaRoot: {
        "ID": "id",
        "Name": "name",
        "RootCertPEM": "root_cert_pem",
        "RootCert": "root_cert_pem",
        "Active": "active",
    },
}


def field(value: Any, name: str, *, strict: bool = False) -> Any:
    """`.name` of a value. `strict`: a key that a map does not have is an error. Raises TemplateError."""
    known = FIELDS.get(value.__class__)
    if known is not None:
        if name in known:
            return getattr(value, known[name])
        if name == "Exists" and isinstance(value, KeyPair):
            return True
        raise TemplateError(f"can't evaluate field {name} in {value.__class__.__name__}")
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        if strict:
            raise TemplateError(f'map has no entry for key "{name}"')
        return NO_VALUE
    if isinstance(value, NoValue) or value is None:
        raise TemplateError(f"nil pointer evaluating .{name}")
    raise TemplateError(f"can't evaluate field {name} in {_kind(value)}")


def index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            # A key that is not there gives the zero value: empty text in Consul's own maps, which hold text.
            value = value[key] if key in value else "" if isinstance(value, MappingProxyType) else None
        elif isinstance(value, Sequence):
            if isinstance(key, bool) or not isinstance(key, int):
                raise TemplateError(f"cannot index slice/array with {_kind(key)}")
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise TemplateError(f"can't index item of {_kind(value)}")
    return value


def is_true(value: Any) -> bool:
    """Numbers but 0, text and collections but empty ones, and every struct."""
    return True if value.__class__ in FIELDS else bool(value)


def text(value: Any) -> str:
    """As `{{ value }}` prints it: `%v`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, NoValue):
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Mapping):
        pairs = sorted(value.items(), key=lambda pair: _order(pair[0]))
        return f"map[{' '.join(f'{text(key)}:{text(item)}' for key, item in pairs)}]"
    if dataclasses.is_dataclass(value):
        return "{" + " ".join(text(getattr(value, field.name)) for field in dataclasses.fields(value)) + "}"
    if isinstance(value, Sequence):
        return f"[{' '.join(map(text, value))}]"
    return str(value)


def float_text(value: float) -> str:
    """`%v` of a float64: the shortest digits that name it, with an exponent below 1e-4 and from 1e6 on."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    shortest = Decimal(repr(value)).normalize()
    power = shortest.adjusted()
    if value == 0 or -4 <= power < 6:
        return f"{shortest:f}"
    sign, digits, _ = shortest.as_tuple()
    first, *rest = map(str, digits)
    mantissa = f"{first}.{''.join(rest)}" if rest else first
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def equal(first: Any, *others: Any) -> bool:
    """`eq`: equal to any of the others. Values of kinds that Go would not compare are an error."""
    if not others:
        raise TemplateError("missing argument for comparison")
    found = False
    for other in others:
        if first is None or other is None or isinstance(first, NoValue) or isinstance(other, NoValue):
            found |= (first is None or isinstance(first, NoValue)) == (other is None or isinstance(other, NoValue))
            continue
        if _basic(first) != _basic(other):
            raise TemplateError(f"incompatible types for comparison: {_kind(first)} and {_kind(other)}")
        found |= first == other
    return found


def less(first: Any, second: Any) -> bool:
    if _basic(first) != _basic(second) or _basic(first) not in ("number", "string"):
        raise TemplateError(f"incompatible types for comparison: {_kind(first)} and {_kind(second)}")
    return bool(first < second)


def length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    try:
        return len(value)
    except TypeError:
        raise TemplateError(f"len of type {_kind(value)}") from None


def sliced(value: Any, *bounds: int) -> Any:
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        return _cut(raw, bounds).decode("utf-8", "surrogateescape")
    if not isinstance(value, Sequence):
        raise TemplateError(f"can't slice item of type {_kind(value)}")
    return _cut(value, bounds)


def _cut(value: Any, bounds: Sequence[int]) -> Any:
    low, high = (bounds[0] if bounds else 0), (bounds[1] if len(bounds) > 1 else len(value))
    if not 0 <= low <= high <= len(value):
        raise TemplateError(f"slice index out of range: {low}:{high}")
    return value[low:high]


def items(value: Any) -> tuple[tuple[Any, ...], bool]:
    """What `range` goes over, and whether these are pairs of key and value."""
    if value is None or isinstance(value, NoValue):
        return (), False
    if isinstance(value, Mapping):
        return tuple(sorted(value.items(), key=lambda pair: _order(pair[0]))), True
    if isinstance(value, tuple):
        return value, False
    if isinstance(value, list | range):
        return tuple(value), False
    if isinstance(value, int) and not isinstance(value, bool):
        return tuple(range(min(value, 100_000))), False
    raise TemplateError(f"range can't iterate over {text(value)}")


_VERB = re.compile(r"%(?P<flags>[+\-# 0]*)(?P<width>\*|\d+)?(?P<precision>\.(?:\*|\d*))?(?P<verb>[a-zA-Z%])")


def sprintf(format: str, *arguments: Any) -> str:
    """Go's fmt.Sprintf, with its ways to say that something does not fit (`%!d(string=x)`, `%!s(MISSING)`)."""
    given = list(arguments)

    def size(written: str) -> int:
        if written == "*":
            return int(given.pop(0)) if given else 0
        return min(int(written or 0), 10_000)

    def one(match: re.Match[str]) -> str:
        if match["verb"] == "%":
            return "%"
        width = size(match["width"] or "")
        precision = size(match["precision"][1:]) if match["precision"] else None
        if not given:
            return f"%!{match['verb']}(MISSING)"
        value = given.pop(0)
        made = _formatted(match["verb"], match["flags"], precision, value)
        if "-" in match["flags"]:
            return made.ljust(width)
        if "0" in match["flags"] and _is_number(value):
            sign = made[0] if made[:1] in ("+", "-") else ""
            return sign + made[len(sign) :].rjust(width - len(sign), "0")
        return made.rjust(width)

    made = _VERB.sub(one, format)
    if given:
        made += f"%!(EXTRA {', '.join(f'{_kind(value)}={text(value)}' for value in given)})"
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _formatted(verb: str, flags: str, precision: int | None, value: Any) -> str:
    plus = "+" if "+" in flags else ""
    if verb == "T":
        return _kind(value)
    if isinstance(value, str) and verb in "svqxX":
        cut = value if precision is None else value[:precision]
        return {"s": cut, "v": cut, "q": _quoted(cut), "x": _hex(cut), "X": _hex(cut).upper()}[verb]
    if isinstance(value, bool):
        fits = verb in "tv"
    elif isinstance(value, int):
        if verb in "dxXob":
            return format(value, f"{plus}{'#' if '#' in flags and verb != 'd' else ''}{verb}")
        if verb == "c":
            return chr(value)
        fits = verb == "v"
    elif isinstance(value, float):
        if verb in "feEF" or (verb in "gG" and precision is not None):
            return format(value, f"{plus}.{6 if precision is None else precision}{verb}")
        fits = verb in "vgG"
    else:
        fits = verb in "sv"
    if not fits:
        return f"%!{verb}({_kind(value)}={text(value)})"
    return plus * (_is_number(value) and value >= 0) + text(value)


def _hex(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").hex()


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def _quoted(value: str) -> str:
    made = [_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in value]
    return f'"{"".join(made)}"'


def _code(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _order(key: Any) -> tuple[str, Any]:
    return ("number", key) if isinstance(key, int | float) else ("text", str(key))


def _basic(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else type(value).__name__


def _kind(value: Any) -> str:
    """As Go would name the type."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", NoValue: "<nil>", type(None): "<nil>"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return name
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    return "[]interface {}" if isinstance(value, Sequence) else type(value).__name__
