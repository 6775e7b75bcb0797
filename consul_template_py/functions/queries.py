"""Functions that ask: each turns its arguments into a query and reads it through the context."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consul_template_py.config_centre import model
from consul_template_py.errors import TemplateError
from consul_template_py.functions.context import Context
from consul_template_py.functions.sockaddr import sockaddr
from consul_template_py.query import (
    CaRoot,
    CaRootsQuery,
    DatacentersQuery,
    KeyPair,
    KeyQuery,
    Node,
    NodeQuery,
    NodesQuery,
    NodeWithServices,
    ServiceInstance,
    ServiceQuery,
    ServicesQuery,
    ServiceSummary,
    TreeQuery,
)
from consul_template_py.query.files import FileQuery
from consul_template_py.query.vault import Secret, SecretQuery, SecretsQuery
from consul_template_py.query.zookeeper import ZchildrenQuery, ZnodeQuery

CENTRE = "dromos/config/"  # where the configuration centre is, see `config_centre`
MOST_LAYERS = 16


class Queries:
    """Methods are the functions, by the names that Jinja2 templates know."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # Consul's catalog

    def datacenters(self) -> tuple[str, ...]:
        return self._context.read(DatacentersQuery())

    def services(self, where: str = "") -> tuple[ServiceSummary, ...]:
        return self._context.read(ServicesQuery.parse(where))

    def service(self, query: str, *filters: str) -> tuple[ServiceInstance, ...]:
        return self._context.read(ServiceQuery.parse(query, *filters))

    def connect(self, query: str, *filters: str) -> tuple[ServiceInstance, ...]:
        return self._context.read(ServiceQuery.parse(query, *filters, connect=True))

    def nodes(self, where: str = "") -> tuple[Node, ...]:
        return self._context.read(NodesQuery.parse(where))

    def node(self, query: str = "") -> NodeWithServices | None:
        """Without a name: the machine that this runs on, by the name it gives itself."""
        if not query or query.startswith("@"):
            self._context.local()
            query = _own_name() + query
        return self._context.read(NodeQuery.parse(query))

    def ca_roots(self, where: str = "") -> tuple[CaRoot, ...]:
        return self._context.read(CaRootsQuery.parse(where))

    # Consul's KV

    def key(self, path: str) -> str:
        """Waits until the key exists."""
        query = KeyQuery.parse(path)
        value = self._context.read(query)
        if value is None:
            self._context.wait_for(query)
            return ""
        return value

    def key_exists(self, path: str) -> bool:
        return self._context.read(KeyQuery.parse(path)) is not None

    def key_or_default(self, path: str, default: Any = "") -> Any:
        value = self._context.read(KeyQuery.parse(path))
        return default if value is None else value

    def tree(self, prefix: str) -> tuple[KeyPair, ...]:
        return self._context.read(TreeQuery.parse(prefix))

    def safe_tree(self, prefix: str) -> tuple[KeyPair, ...]:
        """Not rendered while there is nothing below the prefix."""
        query = TreeQuery.parse(prefix)
        found = self._context.read(query)
        if not found:
            self._context.wait_for(query)
        return found

    def ls(self, prefix: str) -> tuple[KeyPair, ...]:
        """The keys directly below the prefix."""
        return tuple(pair for pair in self.tree(prefix) if "/" not in pair.key)

    def safe_ls(self, prefix: str) -> tuple[KeyPair, ...]:
        return tuple(pair for pair in self.safe_tree(prefix) if "/" not in pair.key)

    # the configuration centre

    def config(self, environment: str, path: str = "", default: str = "") -> Any:
        """The value at `path` in an environment of the configuration centre, inherited ones included; without `path` a map of all."""
        layers: list[tuple[str, dict[str, str]]] = []
        at: str | None = model.check_environment(environment)
        while at is not None and len(layers) < MOST_LAYERS:
            pairs = self._context.read(TreeQuery(f"{CENTRE}{at}/values"))
            layers.append((at, {pair.key: pair.value for pair in pairs}))
            parent = self._context.read(KeyQuery(f"{CENTRE}{at}/inherits"))
            at = model.chain_step(at, parent)
        values = model.resolve(layers)
        if path:
            found = values.get(path.strip("/"))
            return default if found is None else found.value
        return {name: value.value for name, value in values.items()}

    # other sources

    def secret(self, path: str, *fields: str, **named: object) -> Secret:
        """`secret("pki/issue/web", "common_name=a", ttl="1h")` writes the fields and takes the answer."""
        pairs = [tuple(field.partition("=")[::2]) for field in fields] + [(k, str(v)) for k, v in named.items()]
        query = SecretQuery(path.strip("/"), tuple((str(name), str(value)) for name, value in pairs))
        return self._context.read(query)

    def secrets(self, path: str) -> tuple[str, ...]:
        return self._context.read(SecretsQuery(path.strip("/")))

    def file(self, path: str) -> str:
        """Waits until the file exists."""
        query = FileQuery(Path(path))
        text = self._context.read(query)
        if text is None:
            self._context.wait_for(query)
            return ""
        return text

    def znode(self, path: str) -> str:
        """Waits until the node exists."""
        query = ZnodeQuery(path)
        text = self._context.read(query)
        if text is None:
            self._context.wait_for(query)
            return ""
        return text

    def znode_or_default(self, path: str, default: str = "") -> str:
        text = self._context.read(ZnodeQuery(path))
        return default if text is None else text

    def zchildren(self, path: str) -> tuple[str, ...]:
        return self._context.read(ZchildrenQuery(path))

    # the process

    def env(self, name: str, default: str = "") -> str:
        self._context.local()
        return self._context.environment.get(name, default)

    def env_or_default(self, name: str, default: str) -> str:
        """The default for a variable that is empty, too."""
        self._context.local()
        return self._context.environment.get(name) or default

    def must_env(self, name: str) -> str:
        self._context.local()
        if name not in self._context.environment:
            raise TemplateError(f"must_env({name!r}): the environment variable is not set")
        return self._context.environment[name]

    def sockaddr(self, call: str) -> str:
        """This machine's own addresses, see `sockaddr.py`."""
        self._context.local()
        return sockaddr(call)

    def timestamp(self, format: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        """The time in UTC, by strftime's codes; "unix" gives seconds."""
        self._context.local()
        self._context.impure()
        return str(int(time.time())) if format == "unix" else time.strftime(format, time.gmtime())


def query_functions(context: Context) -> dict[str, Callable[..., Any]]:
    asks = Queries(context)
    names = [name for name in vars(Queries) if not name.startswith("_")]
    return {name: getattr(asks, name) for name in names}


def _own_name() -> str:
    return socket.gethostname()
