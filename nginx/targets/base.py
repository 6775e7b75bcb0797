"""The seam between the edge's loop and a proxy.

A proxy follows in two ways. Endpoints, and whatever else can change while it runs, follow at once by `follow`. Routes are a
configuration: the proxy is a `Target` of consul_template_py, whose `Applier` stages, checks, swaps, reloads, verifies and rolls back.
"""

from typing import Protocol

from consul_template_py.targets.base import Target
from nginx.certificates import Bundle
from nginx.model import Model
from nginx.table import Table


class Proxy(Target[Model], Protocol):
    """`start` first. `follow` and the steps of an apply may be called from two tasks: the proxy keeps them apart."""

    async def start(self) -> bool:
        """Adopts the proxy that runs below its directory, else starts one with its last good configuration. True if adopted.

        Raises ProxyFailedError.
        """
        ...

    async def ensure_running(self) -> bool:
        """Starts it again if it has died. Whether it had. Raises ProxyFailedError."""
        ...

    def pids(self) -> list[int]:
        """Its processes. Blocks."""
        ...

    async def follow(self, model: Model, table: Table) -> int:
        """Brings the running proxy's endpoints to those of the model. How many services that changed. Raises EdgeError."""
        ...

    async def take(self, certificates: Bundle) -> bool:
        """Answers with these certificates from now on. True if that waits for the next apply. Raises EdgeError."""
        ...

    async def reopen_logs(self) -> None:
        """Makes it write to new log files, after the old ones were renamed. Raises EdgeError."""
        ...
