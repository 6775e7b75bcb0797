"""The functions of Go templates, by Go's names and in Go's order of arguments: what is piped in comes last."""

import html
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from consul_template_py.errors import TemplateError
from consul_template_py.escape.text import Formatted
from consul_template_py.functions import collections, formats, text
from consul_template_py.functions.context import Context
from consul_template_py.functions.queries import Queries
from consul_template_py.gotemplate import values

Function = Callable[..., Any]


def asking_functions(context: Context) -> dict[str, Function]:
    """Those that read a query, or something else that may change."""
    asks = Queries(context)

    def timestamp(layout: str = "2006-01-02T15:04:05Z") -> str:
        return asks.timestamp("unix" if layout == "unix" else strftime(layout))

    return {
        "caRoots": asks.ca_roots,
        "config": asks.config,
        "connect": asks.connect,
        "datacenters": lambda ignore_failing=False: asks.datacenters(),
        "env": asks.env,
        "envOrDefault": asks.env_or_default,
        "file": asks.file,
        "key": asks.key,
        "keyExists": asks.key_exists,
        "keyOrDefault": asks.key_or_default,
        "ls": asks.ls,
        "mustEnv": asks.must_env,
        "node": asks.node,
        "nodes": asks.nodes,
        "safeLs": asks.safe_ls,
        "safeTree": asks.safe_tree,
        "scratch": lambda: GoScratch(context),
        "secret": asks.secret,
        "secrets": asks.secrets,
        "service": asks.service,
        "services": asks.services,
        "sockaddr": asks.sockaddr,
        "timestamp": timestamp,
        "tree": asks.tree,
        "zchildren": asks.zchildren,
        "znode": asks.znode,
        "znodeOrDefault": asks.znode_or_default,
    }


class GoScratch:
    """`scratch.Set "name" value` and its kin."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def method(self, name: str) -> Function:
        methods: dict[str, Function] = {
            "Key": self._context.scratch.key,
            "Get": self._context.scratch.get,
            "Set": self._context.scratch.set,
            "SetX": self._context.scratch.set_x,
            "MapSet": self._context.scratch.map_set,
            "MapSetX": self._context.scratch.map_set_x,
            "MapValues": self._context.scratch.map_values,
        }
        if name not in methods:
            raise TemplateError(f"scratch has no method {name}")
        return methods[name]


def _last_first(function: Any) -> Function:
    """Ours take the value first; Go's take it last, where a pipe puts it."""

    return lambda *arguments: function(*arguments[-1:], *arguments[:-1])


def _indent(width: int, value: str) -> str:
    return "\n".join(" " * width + line for line in value.split("\n"))


def _parse_json(value: str) -> Any:
    return _as_go_numbers(formats.parse_json(value))


def _as_go_numbers(value: Any) -> Any:
    """Go reads every number of JSON as a float64."""
    if isinstance(value, dict):
        return {key: _as_go_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_go_numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    """For JSON and its kin: structs by Go's field names, whole floats as whole numbers."""
    known = values.FIELDS.get(value.__class__)
    if known is not None:
        return {name: _plain(getattr(value, attribute)) for name, attribute in known.items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _written(function: Callable[[Any], Formatted]) -> Function:
    return lambda value: function(_plain(value))


def _split(separator: str, value: str) -> list[str]:
    return collections.split(value, separator)


def _print(*arguments: Any) -> str:
    """fmt.Sprint: a space between two operands that are both not text."""
    made = ""
    for position, value in enumerate(arguments):
        if position and not isinstance(value, str) and not isinstance(arguments[position - 1], str):
            made += " "
        made += values.text(value)
    return made


def _call(function: Any, *arguments: Any) -> Any:
    if not callable(function):
        raise TemplateError("call of something that is not a function")
    return function(*arguments)


PURE: dict[str, Function] = {
    # of the language
    "call": _call,
    "eq": values.equal,
    "ge": lambda a, b: not values.less(a, b),
    "gt": lambda a, b: values.less(b, a),
    "html": lambda *arguments: html.escape(_print(*arguments)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "index": values.index,
    "js": lambda *arguments: _js(_print(*arguments)),
    "le": lambda a, b: not values.less(b, a),
    "len": values.length,
    "lt": values.less,
    "ne": lambda a, b: not values.equal(a, b),
    "not": lambda value: not values.is_true(value),
    "print": _print,
    "printf": values.sprintf,
    "println": lambda *arguments: " ".join(map(values.text, arguments)) + "\n",
    "slice": values.sliced,
    "urlquery": lambda *arguments: quote_plus(_print(*arguments)),
    # of consul-template
    "add": _last_first(text.add),
    "base64Decode": text.base64_decode,
    "base64Encode": text.base64_encode,
    "base64URLDecode": text.base64_url_decode,
    "base64URLEncode": text.base64_url_encode,
    "byKey": collections.by_key,
    "byMeta": _last_first(collections.by_meta),
    "byPort": collections.by_port,
    "byTag": collections.by_tag,
    "contains": _last_first(collections.contains),
    "containsAll": _last_first(collections.contains_all),
    "containsAny": _last_first(collections.contains_any),
    "containsNone": _last_first(collections.contains_none),
    "containsNotAll": _last_first(collections.contains_not_all),
    "divide": _last_first(text.divide),
    "explode": collections.explode,
    "explodeMap": collections.explode_map,
    "hmacSHA256Hex": text.hmac_sha256_hex,
    "in": collections.contains,
    "indent": _indent,
    "join": _last_first(lambda items, separator: separator.join(map(values.text, items))),
    "loop": collections.loop,
    "maximum": _last_first(text.maximum),
    "md5sum": text.md5,
    "mergeMap": collections.merge_map,
    "mergeMapWithOverride": collections.merge_map_with_override,
    "minimum": _last_first(text.minimum),
    "modulo": _last_first(text.modulo),
    "multiply": _last_first(text.multiply),
    "parseBool": text.parse_bool,
    "parseFloat": text.parse_float,
    "parseInt": text.parse_int,
    "parseJSON": _parse_json,
    "parseUint": text.parse_uint,
    "parseYAML": formats.parse_yaml,
    "regexMatch": _last_first(text.regex_match),
    "regexReplaceAll": _last_first(text.regex_replace_all),
    "replaceAll": _last_first(text.replace_all),
    "sha256Hex": text.sha256_hex,
    "split": _split,
    "splitToMap": _last_first(collections.split_to_map),
    "subtract": _last_first(text.subtract),
    "toJSON": _written(formats.to_json),
    "toJSONPretty": _written(formats.to_json_pretty),
    "toLower": text.to_lower,
    "toTOML": _written(formats.to_toml),
    "toTitle": text.to_title,
    "toUpper": text.to_upper,
    "toYAML": _written(formats.to_yaml),
    "trim": _last_first(text.trim),
    "trimLeft": _last_first(text.trim_left),
    "trimPrefix": _last_first(text.trim_prefix),
    "trimRight": _last_first(text.trim_right),
    "trimSpace": text.trim_space,
    "trimSuffix": _last_first(text.trim_suffix),
}

# of the evaluator, see above
SPECIAL = ("and", "or", "executeTemplate")

_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _js(value: str) -> str:
    return "".join(_JS.get(char) or (char if char.isprintable() else f"\\u{ord(char):04X}") for char in value)


_LAYOUT = (
    ("2006", "%Y"), ("January", "%B"), ("Monday", "%A"), ("Jan", "%b"), ("Mon", "%a"), ("MST", "%Z"), ("Z07:00", "Z"), ("-0700", "%z"),
    ("01", "%m"), ("02", "%d"), ("15", "%H"), ("03", "%I"), ("04", "%M"), ("05", "%S"), ("06", "%y"), ("PM", "%p"),
)  # fmt: skip


def strftime(layout: str) -> str:
    """Go's layout, which shows 2006-01-02 15:04:05, as strftime's codes."""
    made, at = "", 0
    while at < len(layout):
        for shown, code in _LAYOUT:
            if layout.startswith(shown, at):
                made, at = made + code, at + len(shown)
                break
        else:
            made, at = made + layout[at].replace("%", "%%"), at + 1
    return made
