"""The autoscaler's errors.

AutoscaleError
├── PolicyError     labels or a file ask for what cannot be; the app is left alone, and the journal says why
├── MetricsError    a load balancer did not answer, or not with what can be read
├── LockError       Consul does not answer about the leader's lock
├── TraceError      a recording cannot be read
└── ApiError        the Marathon API did not answer, or refused
    ├── BusyError       409: a deployment is in the way
    └── ChangedError    412: the app is not any more what was decided on
"""


class AutoscaleError(Exception):
    pass


class PolicyError(AutoscaleError):
    pass


class MetricsError(AutoscaleError):
    pass


class ApiError(AutoscaleError):
    pass


class BusyError(ApiError):
    pass


class ChangedError(ApiError):
    pass


class LockError(AutoscaleError):
    pass


class TraceError(AutoscaleError):
    pass
