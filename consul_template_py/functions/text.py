"""Helpers on text, numbers and hashes. Pure; the value comes first, so that each is a Jinja2 filter too."""

import base64
import binascii
import hashlib
import hmac
import re
from functools import lru_cache

from consul_template_py.errors import TemplateError
from consul_template_py.escape.text import Formatted

Number = int | float


def base64_encode(text: str) -> str:
    return base64.b64encode(_bytes(text)).decode()


def base64_decode(text: str) -> str:
    return _decoded(text, b"+/", "base64_decode")


def base64_url_encode(text: str) -> str:
    return base64.urlsafe_b64encode(_bytes(text)).decode()


def base64_url_decode(text: str) -> str:
    return _decoded(text, b"-_", "base64_url_decode")


def _decoded(text: str, alphabet: bytes, name: str) -> str:
    try:
        raw = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), alphabet, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TemplateError(f"{name}: {error}") from None
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")


def sha256_hex(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def md5(text: str) -> str:
    return hashlib.md5(_bytes(text), usedforsecurity=False).hexdigest()


def hmac_sha256_hex(text: str, key: str) -> str:
    return hmac.new(_bytes(key), _bytes(text), hashlib.sha256).hexdigest()


def indent(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    """As Jinja2's own, but text that was made for a syntax stays so."""
    margin = " " * width
    lines = text.split("\n")
    moved = [
        line if (index == 0 and not first) or (not line and not blank) else margin + line
        for index, line in enumerate(lines)
    ]
    whole = "\n".join(moved)
    return text.like(whole) if isinstance(text, Formatted) else whole


def trim(text: str, cut: str | None = None) -> str:
    return text.strip(cut)


def trim_left(text: str, cut: str | None = None) -> str:
    return text.lstrip(cut)


def trim_right(text: str, cut: str | None = None) -> str:
    return text.rstrip(cut)


def trim_space(text: str) -> str:
    return text.strip()


def trim_prefix(text: str, prefix: str) -> str:
    return text.removeprefix(prefix)


def trim_suffix(text: str, suffix: str) -> str:
    return text.removesuffix(suffix)


def replace_all(text: str, old: str, new: str) -> str:
    return text.replace(old, new)


def to_lower(text: str) -> str:
    return text.lower()


def to_upper(text: str) -> str:
    return text.upper()


def to_title(text: str) -> str:
    """The first letter of each word in upper case, the rest as it is."""
    return re.sub(r"(?<!\S)\S", lambda match: match[0].upper(), text)


def regex_match(text: str, pattern: str) -> bool:
    return _compiled(pattern).search(text) is not None


def regex_replace_all(text: str, pattern: str, replacement: str) -> str:
    """`$1`, `${1}` and `${name}` in the replacement stand for groups, as in Go."""
    return _compiled(pattern).sub(lambda match: _expand(match, replacement), text)


_GROUP = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _expand(match: re.Match[str], replacement: str) -> str:
    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if not name:
            return "$"
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return _GROUP.sub(group, replacement)


@lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Go's regular expressions, RE2, are Python's but for a few spellings.
    spelled = pattern.replace(r"\z", r"\Z").replace("[[:word:]]", r"\w").replace("[[:alnum:]]", "[A-Za-z0-9]")
    try:
        return re.compile(spelled)
    except re.error as error:
        raise TemplateError(f"regular expression {pattern!r}: {error}") from None


def parse_bool(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False", ""):
        return False
    raise TemplateError(f"parse_bool: {text!r} is neither true nor false")


def parse_float(text: str) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise TemplateError(f"parse_float: {text!r} is not a number") from None


def parse_int(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError:
        raise TemplateError(f"parse_int: {text!r} is not a whole number") from None


def parse_uint(text: str) -> int:
    number = parse_int(text)
    if number < 0:
        raise TemplateError(f"parse_uint: {text!r} is negative")
    return number


def add(value: Number, other: Number) -> Number:
    return value + other


def subtract(value: Number, other: Number) -> Number:
    """`value - other`."""
    return value - other


def multiply(value: Number, other: Number) -> Number:
    return value * other


def divide(value: Number, by: Number) -> Number:
    """Whole numbers are divided as in Go: towards zero."""
    if by == 0:
        raise TemplateError("divide: by zero")
    if isinstance(value, int) and isinstance(by, int):
        quotient = abs(value) // abs(by)
        return quotient if (value < 0) == (by < 0) else -quotient
    return value / by


def modulo(value: int, by: int) -> int:
    """The sign is the value's, as in Go."""
    if by == 0:
        raise TemplateError("modulo: by zero")
    rest = abs(value) % abs(by)
    return rest if value >= 0 else -rest


def minimum(value: Number, other: Number) -> Number:
    return min(value, other)


def maximum(value: Number, other: Number) -> Number:
    return max(value, other)
