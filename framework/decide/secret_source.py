"""The `source` of a secret, as a definition gives it: a store, a path in it, and a field.

file:prod/db-password        a file below --secrets-dir
consul:prod/db-password      a key of Consul's KV below --secrets-consul-prefix
vault:prod/db#password       a field of a secret of Vault's KV 2, below --secrets-vault-mount; without one, `value`
prod/db#password             the same in the store of --secrets-default
"""

from dataclasses import dataclass
from typing import Literal, get_args

StoreName = Literal["file", "consul", "vault"]
STORES: tuple[StoreName, ...] = get_args(StoreName)
DEFAULT_FIELD = "value"
LONGEST_SOURCE = 1024


class SecretError(Exception):
    """Why a secret cannot be had. The text is shown to whoever may see the app."""


@dataclass(frozen=True, slots=True)
class Source:
    store: StoreName
    path: str
    field: str | None = None


def parse_source(text: str, default: StoreName | None) -> Source:
    """Raises SecretError. The path has no empty, `.` or `..` segments and no control characters, so that it cannot leave its place."""
    store, mark, rest = text.partition(":")
    if not mark or store not in STORES:
        if default is None:
            raise SecretError(
                f"'{text[:100]}' names no store: begin it with file:, consul: or vault:, or set --secrets-default"
            )
        name, rest = default, text
    else:
        name = next(known for known in STORES if known == store)
    path, mark, field = rest.partition("#")
    path = path.strip("/")
    if not path or len(text) > LONGEST_SOURCE or any(part in ("", ".", "..") for part in path.split("/")):
        raise SecretError(f"'{text[:100]}' is not a path")
    if not text.isprintable() or "\\" in text:
        raise SecretError(f"{text[:100]!r} has characters that no path has")
    if mark and (name != "vault" or not field):
        raise SecretError(f"'{text[:100]}': only a secret of Vault has a field, as vault:path#field")
    return Source(name, path, field or None)


def may_use(spec_id: str, source: Source) -> bool:
    """Whether the folder of the secret encloses the app: `/prod/web` may use `db`, `prod/db` and `prod/web/db`, not `dev/db`."""
    folder = "/" + source.path.rpartition("/")[0]
    return folder == "/" or spec_id == folder or spec_id.startswith(folder + "/")
