"""The error tree of the registrator.

RegistratorError
├── SourceError          a source did not answer, or not with what it ought to; nothing may be concluded from it
└── ConsulError          Consul did not do what it was asked
    ├── ConsulAwayError  no agent answers, or it answers 429 or 5xx: to be tried again
    └── RefusedError     this one request cannot be fulfilled (400 and its like); others can
"""


class RegistratorError(Exception):
    pass


class SourceError(RegistratorError):
    pass


class ConsulError(RegistratorError):
    pass


class ConsulAwayError(ConsulError):
    pass


class RefusedError(ConsulError):
    pass
