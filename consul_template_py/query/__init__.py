"""What can be asked, one file per kind of query: how it is written, how it is asked, what its answer is as values."""

from consul_template_py.query.base import HERE, At, ConsulQuery, Query
from consul_template_py.query.ca_roots import CaRoot, CaRootsQuery
from consul_template_py.query.datacenters import DatacentersQuery
from consul_template_py.query.kv import KeyPair, KeyQuery, TreeQuery
from consul_template_py.query.nodes import Node, NodeQuery, NodeService, NodesQuery, NodeWithServices
from consul_template_py.query.service import Check, ServiceInstance, ServiceQuery
from consul_template_py.query.services import ServiceName, ServicesQuery, ServiceSummary

__all__ = [
    "HERE",
    "At",
    "CaRoot",
    "CaRootsQuery",
    "Check",
    "ConsulQuery",
    "DatacentersQuery",
    "KeyPair",
    "KeyQuery",
    "Node",
    "NodeQuery",
    "NodeService",
    "NodeWithServices",
    "NodesQuery",
    "Query",
    "ServiceInstance",
    "ServiceName",
    "ServiceQuery",
    "ServiceSummary",
    "ServicesQuery",
    "TreeQuery",
]
