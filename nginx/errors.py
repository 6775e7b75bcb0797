"""The error tree of the edge.

RefusedError                 a name or value from a label, tag or Consul that is not let into a configuration
EdgeError               OperatorError: the edge cannot do what its operator asked
├── ProxyMissingError        the program or a module of it is not installed
├── ProxyFailedError         the proxy refused its configuration, or did not start, reload or stop
└── ControlError       the running proxy did not take a change of endpoints
"""

from daemonkit.errors import OperatorError


class RefusedError(ValueError):
    """Why a value is refused, in words for whoever set the label."""


class EdgeError(OperatorError):
    pass


class ProxyMissingError(EdgeError):
    pass


class ProxyFailedError(EdgeError):
    pass


class ControlError(EdgeError):
    pass
