"""Which specs have all their secrets at hand, and why others have not. The engine knows sources and how fetching went, never a value."""

from collections.abc import Iterable, Mapping

from framework.engine.actions import FetchSecrets
from framework.engine.core import Core
from framework.model.run_spec import RunSpec

SECRETS = "secrets"


class Secrets:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._fresh: dict[str, float] = {}  # source -> until when its value is at hand
        self._problems: dict[str, str] = {}
        self._asked: dict[str, float] = {}  # source -> when the answer is overdue

    def ready(self, spec: RunSpec) -> bool:
        """Whether the spec can be launched now; if not, what it lacks is asked for."""
        if not spec.secrets:
            return True
        now = self._core.now
        lacking = [source for source in _sources(spec) if self._fresh.get(source, 0.0) <= now]
        self._ask(source for source in lacking if self._asked.get(source, 0.0) <= now)
        return not lacking

    def problem(self, spec: RunSpec) -> str | None:
        """Why the spec waits for its secrets, one line; None if it does not."""
        problems = [
            f"secret '{name}': {self._problems[secret.source]}"
            for name, secret in sorted(spec.secrets.items())
            if secret.source in self._problems
        ]
        return "; ".join(problems) or None

    def resolved(self, outcomes: Mapping[str, str | None]) -> None:
        """By source, why its value could not be fetched, or None."""
        core, settings = self._core, self._core.settings
        for source, problem in outcomes.items():
            self._asked.pop(source, None)
            if problem is None:
                self._problems.pop(source, None)
                self._fresh[source] = core.now + settings.secret_seconds
                continue
            if self._problems.get(source) != problem:
                core.warn("a secret cannot be read", source=source, why=problem)
            self._problems[source] = problem
            self._asked[source] = core.now + settings.secret_retry
            core.timers.set(SECRETS, source, core.now + settings.secret_retry)
        for spec in core.launcher.specs():
            if any(source in outcomes for source in _sources(spec)):
                core.launcher.wake(spec)

    def again(self, source: str) -> None:
        """The time for another try, if anybody still waits for it."""
        waiting = [spec for spec in self._core.launcher.specs() if source in _sources(spec)]
        if not waiting:
            for known in (self._problems, self._asked, self._fresh):
                known.pop(source, None)
        for spec in waiting:
            self.ready(spec)

    def _ask(self, sources: Iterable[str]) -> None:
        core = self._core
        asked = tuple(dict.fromkeys(sources))
        for source in asked:
            self._asked[source] = core.now + core.settings.secret_patience
            core.timers.set(SECRETS, source, core.now + core.settings.secret_patience)
        if asked:
            core.act(FetchSecrets(asked))


def _sources(spec: RunSpec) -> set[str]:
    return {secret.source for secret in spec.secrets.values()}
