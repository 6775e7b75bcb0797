"""The autoscaler's errors.

AutoscaleError
├── PolicyError     an app's labels ask for what cannot be; the app is left alone, and the journal says why
├── MetricsError    a load balancer did not answer, or not with what can be read
└── ApiError        the Marathon API did not answer, or refused
"""


class AutoscaleError(Exception):
    pass


class PolicyError(AutoscaleError):
    pass


class MetricsError(AutoscaleError):
    pass


class ApiError(AutoscaleError):
    pass


class TraceError(AutoscaleError):
    pass
