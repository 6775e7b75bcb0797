"""The centre in Consul's KV, through py-consul: reads, and commits that survive a crash between any two of their steps."""

import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import consul
import requests

from consul_template_py.config_centre import model
from consul_template_py.config_centre.model import Change, Version
from consul_template_py.errors import ConfigError
from consul_template_py.sources.consul import ConsulSettings
from daemonkit.errors import OperatorError

MOST_TRIES = 20


class CentreError(OperatorError):
    pass


class CentreUnavailableError(CentreError):
    exit_code = 3


class Store:
    """Methods raise CentreUnavailableError when Consul is away, CentreError when it refuses, ConfigError for a bad name."""

    def __init__(self, settings: ConsulSettings, *, prefix: str = "dromos/config/") -> None:
        self._prefix = prefix.strip("/") + "/"
        self._address = settings.address
        parts = urlsplit(settings.address if "://" in settings.address else f"http://{settings.address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"consul: {settings.address!r} is not http://host:port or https://host:port")
        verify: bool | str = str(settings.ca_file) if settings.ca_file else settings.verify
        cert = (str(settings.cert_file), str(settings.key_file)) if settings.cert_file else None
        with self._errors():
            self._client: Any = consul.Consul(
                host=parts.hostname,
                port=parts.port or (443 if parts.scheme == "https" else 8500),
                scheme=parts.scheme,
                token=settings.secret() or None,
                verify=verify,
                cert=cert,
            )

    # reading

    def environments(self) -> list[str]:
        names = self._keys(self._prefix)
        return sorted({key.removeprefix(self._prefix).split("/")[0] for key in names})

    def parents(self) -> dict[str, str | None]:
        """What has been said; others inherit from `base`."""
        found: dict[str, str | None] = {}
        for environment in self.environments():
            said = self._get(f"{environment}/inherits")
            if said is not None:
                found[environment] = said[0] or None
        return found

    def values(self, environment: str) -> dict[str, str]:
        """The environment's own."""
        start = f"{self._prefix}{model.check_environment(environment)}/values/"
        # What the token may not read Consul leaves out of a tree without a word, and what is inherited would show; of one key it says so.
        self._head(environment)
        with self._errors():
            _, entries = self._client.kv.get(start, recurse=True, consistency="consistent")
        return {
            entry["Key"].removeprefix(start): _text(entry["Value"])
            for entry in entries or ()
            if not entry["Key"].endswith("/")
        }

    def layers(self, environment: str) -> list[tuple[str, dict[str, str]]]:
        """The environment and those that it inherits from, nearest first, each with its own values."""
        names = model.chain(model.check_environment(environment), self._parents_from(environment))
        return [(name, self.values(name)) for name in names]

    def head(self, environment: str) -> int:
        return self._head(environment)[0]

    def history(self, environment: str, *, since: int = 0, limit: int | None = None) -> list[Version]:
        """Complete versions above `since`, the newest first."""
        start = f"{self._prefix}{model.check_environment(environment)}/history/"
        head = self.head(environment)
        numbers = list(range(head, since, -1))[:limit]
        found = []
        for number in numbers:
            entry = self._get(f"{environment}/history/{number:010d}")
            if entry is None:
                continue  # pruned by an operator
            try:
                found.append(Version.decode(entry[0].encode("utf-8", "surrogateescape")))
            except (ValueError, KeyError, TypeError):
                raise CentreError(f"{start}{number:010d} is not a version; mend or delete that key") from None
        return found

    # writing

    def commit(self, environment: str, wanted: Mapping[str, str | None], *, author: str, reason: str) -> Version | None:
        """Sets, and (None) removes, values of the environment. None where nothing was to be changed."""
        model.check_environment(environment)
        checked = {
            model.check_path(path): None if value is None else model.check_value(path, value)
            for path, value in wanted.items()
        }
        for _ in range(MOST_TRIES):
            head, index = self._finish_what_was_begun(environment)
            changes = model.changes_to(self.values(environment), checked)
            if not changes:
                return None
            version = Version(head + 1, time.time(), author, reason, changes)
            if self._put(f"{environment}/history/{version.number:010d}", version.encode(), cas=0):
                self._carry_out(environment, version, index)
                return version
        raise CentreError(f"{environment}: others change it all the time, {MOST_TRIES} tries failed; try again")

    def roll_back(self, environment: str, number: int, *, author: str, reason: str) -> Version | None:
        """A new version in which the values are what they were at version `number`."""
        head = self.head(environment)
        if not 0 <= number <= head:
            raise ConfigError(f"{environment} has no version {number}; the last is {head}")
        later = self.history(environment, since=number)
        if {version.number for version in later} != set(range(number + 1, head + 1)):
            raise CentreError(f"{environment}: the history since version {number} is not complete")
        current = self.values(environment)
        target = model.values_at(current, later)
        wanted: dict[str, str | None] = {path: target.get(path) for path in {*current, *target}}
        return self.commit(environment, wanted, author=author, reason=reason)

    def inherit(self, environment: str, parent: str | None) -> None:
        model.check_environment(environment)
        above = {} if parent is None else self._parents_from(model.check_environment(parent))
        model.chain(environment, {**above, environment: parent})
        self._put(f"{environment}/inherits", (parent or "").encode())

    def _parents_from(self, environment: str) -> dict[str, str | None]:
        """As `parents`, of this environment and those above it alone."""
        found: dict[str, str | None] = {}
        at: str | None = environment
        while at is not None and at not in found:
            said = self._get(f"{at}/inherits")
            found[at] = model.chain_step(at, said[0] if said else None)
            at = found[at]
        return found

    def _finish_what_was_begun(self, environment: str) -> tuple[int, int]:
        """The head, and its index for compare-and-set, once a commit that its writer did not finish is carried out."""
        while True:
            head, index = self._head(environment)
            begun = self._get(f"{environment}/history/{head + 1:010d}")
            if begun is None:
                return head, index
            try:
                version = Version.decode(begun[0].encode("utf-8", "surrogateescape"))
            except (ValueError, KeyError, TypeError):
                raise CentreError(f"{self._prefix}{environment}/history/{head + 1:010d} is not a version") from None
            self._carry_out(environment, version, index)

    def _carry_out(self, environment: str, version: Version, head_index: int) -> None:
        for change in version.changes:
            if not self._apply(environment, change, version.number):
                return  # others have finished this version, and may have begun the next
        # Where another has carried the same version out, the head has moved already: that is as good.
        self._put(f"{environment}/head", str(version.number).encode(), cas=head_index)

    def _apply(self, environment: str, change: Change, number: int) -> bool:
        """False when the version is complete already.

        The value's index is read before the head: if the head is still below `number` then, nobody can have written a later version's
        value by that index, so compare-and-set cannot undo one, however long this process slept in between.
        """
        key = f"{environment}/values/{change.path}"
        found = self._get(key)
        if self._head(environment)[0] >= number:
            return False
        index = found[1] if found else 0
        if (found[0] if found else None) == change.after:
            return True
        if change.after is not None:
            self._put(key, change.after.encode("utf-8", "surrogateescape"), cas=index)
        else:
            with self._errors():
                self._client.kv.delete(self._prefix + key, cas=index)
        return True

    # Consul

    def _head(self, environment: str) -> tuple[int, int]:
        found = self._get(f"{model.check_environment(environment)}/head")
        if found is None:
            return 0, 0
        if not found[0].isdigit():
            raise CentreError(f"{self._prefix}{environment}/head is not a number; mend that key")
        return int(found[0]), found[1]

    def _get(self, key: str) -> tuple[str, int] | None:
        with self._errors():
            _, entry = self._client.kv.get(self._prefix + key, consistency="consistent")
        return None if entry is None else (_text(entry["Value"]), int(entry["ModifyIndex"]))

    def _keys(self, prefix: str) -> list[str]:
        with self._errors():
            _, keys = self._client.kv.get(prefix, keys=True, consistency="consistent")
        return list(keys or ())

    def _put(self, key: str, value: bytes, *, cas: int | None = None) -> bool:
        with self._errors():
            return bool(self._client.kv.put(self._prefix + key, value, cas=cas))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except consul.ACLPermissionDenied:
            raise CentreError(
                f"Consul does not permit this: give a token with a key_prefix rule for {self._prefix}<environment>/"
            ) from None
        except consul.Timeout as error:
            raise CentreUnavailableError(f"Consul at {self._address} does not answer: {error}") from None
        except consul.ConsulException as error:
            said = " ".join(str(error).split())
            if said.startswith("5"):
                raise CentreUnavailableError(f"Consul at {self._address} cannot answer: {said}") from None
            raise CentreError(f"Consul refused: {said}") from None
        except (requests.RequestException, ssl.SSLError, OSError) as error:
            raise CentreUnavailableError(f"Consul at {self._address} cannot be reached: {_short(error)}") from None


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "surrogateescape")


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else error)
    inner = getattr(reason, "reason", reason)
    return str(inner).split(": ")[-1]
