"""PURE: the labels and variables by which an app says how it wants to be registered.

registrator      SERVICE_NAME, SERVICE_TAGS, SERVICE_ID, SERVICE_IGNORE, SERVICE_<port>_…, SERVICE_CHECK_…, any other SERVICE_X;
                 from the environment, then from labels; what is said of the port itself wins
marathon-consul  label `consul`; labels whose value is `tag` or `tag:<service>`; both on an app and on one of its ports
"""

import re
from collections.abc import Collection, Iterator, Mapping

_PREFIX = "SERVICE_"
_COMMA = re.compile(r"(?<!\\),")


def attributes(
    env: Mapping[str, str], labels: Mapping[str, str], ports: Collection[int | None]
) -> tuple[dict[str, str], frozenset[str]]:
    """What SERVICE_* says of one port, which is known by any of the numbers in `ports`: (key -> value, the keys said of it alone).

    Keys are lower-case and without the prefix: `name`, `tags`, `check_http`, …
    """
    found: dict[str, str] = {}
    own: set[str] = set()
    for source in (env, labels):
        for name, value in source.items():
            if not name.startswith(_PREFIX):
                continue
            key = name.removeprefix(_PREFIX).lower()
            number, _, rest = key.partition("_")
            if rest and number.isascii() and number.isdecimal() and len(number) <= 5:
                if int(number) in ports:
                    found[rest] = value
                    own.add(rest)
            elif key and key not in own:
                found[key] = value
    return found, frozenset(own)


def split_tags(value: str) -> list[str]:
    r"""`a,b\,c` -> `["a", "b,c"]`; empty ones are left out."""
    return [tag for part in _COMMA.split(value) if (tag := part.replace("\\,", ",").strip())]


def tag_labels(labels: Mapping[str, str], names: Collection[str]) -> Iterator[str]:
    """The labels that marathon-consul makes tags of; `names` are those that `tag:<service>` may mean."""
    for key, value in labels.items():
        kind, _, service = value.partition(":")
        if kind == "tag" and (not service or service in names):
            yield key


def consul_name(labels: Mapping[str, str]) -> str | None:
    """The label `consul`: a name, "" for the app's own, None where it is absent."""
    value = labels.get("consul")
    return value if value is None else "" if value.strip().lower() in ("", "true") else value.strip()


def app_name(app_id: str, separator: str) -> str:
    """`/shop/web` -> `shop.web`."""
    return app_id.strip("/").replace("/", separator)


def is_true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")
