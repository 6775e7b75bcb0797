"""What a name or value must look like before it may stand in a proxy's configuration. Anything else raises RefusedError.

None of the patterns lets through white space, quotes, backslashes, semicolons, braces, `$` or control characters, so a value that
passed cannot change the structure of a configuration, whatever the proxy's quoting rules are.
"""

import ipaddress
import re

from nginx.errors import RefusedError

MAX_NAME = 128
MAX_PATH = 1024
MAX_SECONDS = 86400.0

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_PATH = re.compile(r"/[A-Za-z0-9._~!&*+,=:@/-]*")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TEXT = re.compile(r"[A-Za-z0-9 ._~:/@+=,-]*")
_ORIGIN = re.compile(r"\*|https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_USER = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
# crypt(3) in its modular form, and Apache's {SHA}: what htpasswd writes. Plain passwords are refused.
_PASSWORD_HASH = re.compile(r"\$(1|2[aby]|5|6|apr1)\$[A-Za-z0-9./$=]{8,200}|\{SSHA?\}[A-Za-z0-9+/=]{16,128}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)b?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(?:r?/([sm]))?")
_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)?")


def service_name(value: str) -> str:
    return _matching(_SERVICE, value, "a service name of letters, digits and . _ ~ -", MAX_NAME)


def host(value: str) -> str:
    """A host name, or `*.` and one; lower case."""
    return _matching(_HOST, value.strip().lower().rstrip("."), "a host name", 253)


def path(value: str) -> str:
    """A path prefix without its last `/`, except `/` itself. `//`, `.` and `..` are refused: no request arrives with them."""
    found = _matching(_PATH, value.strip(), "a path that begins with /", MAX_PATH)
    if "//" in found or any(part in (".", "..") for part in found.split("/")):
        raise RefusedError(f"{_shown(value)} has an empty, `.` or `..` segment")
    return found.rstrip("/") or "/"


def token(value: str) -> str:
    """The name of a header or a cookie."""
    return _matching(_TOKEN, value.strip(), "a name of letters, digits, - and _", 64)


def text(value: str) -> str:
    return _matching(_TEXT, value.strip(), "plain text without quotes and signs", MAX_NAME)


def origin(value: str) -> str:
    return _matching(_ORIGIN, value.strip().lower().rstrip("/"), "an origin such as https://example.org, or *", 300)


def method(value: str) -> str:
    return _matching(re.compile(r"[A-Z]+"), value.strip().upper(), "an HTTP method", 20)


def file_name(value: str) -> str:
    """A file's name without any directory."""
    return _matching(_FILE, value.strip(), "a file name without directories", MAX_NAME)


def user(value: str) -> str:
    return _matching(_USER, value, "a user name")


def password_hash(value: str) -> str:
    if not _PASSWORD_HASH.fullmatch(value):
        raise RefusedError("the password is not a hash as htpasswd or mkpasswd writes it")
    return value


def address(value: str) -> str:
    """An IP address in its canonical form."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise RefusedError(f"{_shown(value)} is not an IP address") from None


def network(value: str) -> str:
    """An IP address or network in its canonical form, or `all`."""
    value = value.strip()
    if value == "all":
        return value
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise RefusedError(f"{_shown(value)} is not an IP address or network") from None


def port(value: str | int) -> int:
    return integer(value, 1, 65535)


def integer(value: str | int, least: int, most: int) -> int:
    shown = str(value).strip()
    if not re.fullmatch(r"[0-9]{1,12}", shown) or not least <= int(shown) <= most:
        raise RefusedError(f"{_shown(shown)} is not a whole number from {least} to {most}")
    return int(shown)


def boolean(value: str) -> bool:
    match value.strip().lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
    raise RefusedError(f"{_shown(value)} is neither true nor false")


def seconds(value: str, most: float = MAX_SECONDS) -> float:
    """`1.5`, `500ms`, `10s`, `5m`, `1h`, `2d`"""
    found = _SECONDS.fullmatch(value.strip())
    if not found:
        raise RefusedError(f"{_shown(value)} is not a time such as 10s or 500ms")
    length = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}[found[2]]
    if not 0.001 <= length <= most:
        raise RefusedError(f"{_shown(value)} is not between 1ms and {most / 3600:g}h")
    return length


def size(value: str) -> int:
    """Bytes: `0`, `4096`, `16k`, `10m`, `1g`"""
    found = _SIZE.fullmatch(value.strip())
    if not found:
        raise RefusedError(f"{_shown(value)} is not a size such as 10m")
    count = int(found[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[found[2].lower()]
    if count > 1 << 40:
        raise RefusedError(f"{_shown(value)} is more than 1024g")
    return count


def rate(value: str) -> float:
    """Requests per second: `100`, `100/s`, `30/m`"""
    found = _RATE.fullmatch(value.strip())
    if not found:
        raise RefusedError(f"{_shown(value)} is not a rate such as 100/s")
    number = float(found[1]) / (60 if found[2] == "m" else 1)
    if not 1 / 60 <= number <= 1_000_000:
        raise RefusedError(f"{_shown(value)} is not between 1/m and 1000000/s")
    return number


def _matching(pattern: re.Pattern[str], value: str, wanted: str, longest: int = MAX_NAME) -> str:
    if len(value) > longest:
        raise RefusedError(f"longer than {longest} characters")
    if not pattern.fullmatch(value):
        raise RefusedError(f"{_shown(value)} is not {wanted}")
    return value


def _shown(value: str) -> str:
    """A hostile value, safe for a log line or a page."""
    return ascii(value if len(value) <= 60 else value[:57] + "...")
