"""The edge daemon's own numbers. Those of the traffic are Nginx' (lua/dromos/metrics.lua), on the status port."""

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nginx.model import Model


class Counted(Protocol):
    model: Model
    applied_at: float
    reloads: int
    changes: int


def collect(edge: Counted) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Edge(edge))
    return registry


class _Edge(Collector):
    """Read when asked for, so that nothing has to be kept in step."""

    def __init__(self, edge: Counted) -> None:
        self._edge = edge

    def collect(self) -> Iterator[Metric]:
        edge, model = self._edge, self._edge.model
        endpoints = sum(len(service.endpoints) for service in model.services.values())
        yield GaugeMetricFamily("dromos_edge_routes", "Routes of the model.", len(model.routes) + len(model.streams))
        yield GaugeMetricFamily("dromos_edge_services", "Services of the model.", len(model.services))
        yield GaugeMetricFamily("dromos_edge_endpoints", "Endpoints of the model.", endpoints)
        yield GaugeMetricFamily("dromos_edge_refused", "Names and values that were refused.", len(model.refusals))
        yield GaugeMetricFamily(
            "dromos_edge_applied_time_seconds", "When the proxy last followed the model.", edge.applied_at
        )
        yield CounterMetricFamily("dromos_edge_reloads", "Reloads of the proxy's routes.", edge.reloads)
        yield CounterMetricFamily("dromos_edge_table_changes", "Services whose endpoints were changed.", edge.changes)
