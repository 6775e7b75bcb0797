"""The master as a whole: the cluster, and the rooms that act on it."""

from embedded.mesos.cluster import Cluster
from embedded.mesos.frameworks import Frameworks
from embedded.mesos.maintenance import Maintenance
from embedded.mesos.membership import Membership
from embedded.mesos.registry import Registry
from embedded.mesos.settings import MesosSettings


class Master:
    """Call `start` inside a running event loop, `stop` at the end. Agents talk to `agents` (embedded.mesos.seam.Master)."""

    def __init__(self, settings: MesosSettings, registry: Registry, *, host: str, port: int) -> None:
        self.settings = settings
        self.cluster = Cluster(settings, registry, host=host, port=port)
        self.frameworks = Frameworks(self.cluster)
        self.agents = Membership(self.cluster)
        self.maintenance = Maintenance(self.cluster, self.agents)
        self.cluster.unavailability_of = self.maintenance.unavailability

    def start(self) -> None:
        self.frameworks.recover()
        self.agents.recover()
        self._every_interval()

    def close_streams(self) -> None:
        """Ends all subscriptions, once what waits in them is sent."""
        self.cluster.close_streams()

    def stop(self) -> None:
        self.cluster.close()

    def _every_interval(self) -> None:
        self.cluster.after("allocation", self.settings.allocation_interval, self._every_interval)
        self.cluster.allocate_all()
        self.maintenance.ask_back()
