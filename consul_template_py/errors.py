"""The error tree of consul_template_py.

OperatorError (daemonkit)     one line for the operator: what, where, how to mend
├── ConfigError               a configuration file, flag or template declaration that cannot be used; exit code 2
├── GivenUpError              a source failed more often in a row than the configuration lets it
├── QuerySyntaxError          a query such as `tag.web@dc1|passing` that cannot be read
├── TemplateError             a template that does not compile or does not evaluate: file, line, why
└── TargetError               a change of a target that went wrong; the target keeps, or gets back, what it had
    ├── CheckError            the check before the swap refused the new configuration
    ├── ReloadError           the reload command failed
    ├── VerifyError           after the reload the target does not do what it should
    └── NoRollBackError       the target keeps what it has: the reload will be tried again
SourceError                   a source (Consul, Vault, ZooKeeper, a file) cannot answer now; watches retry for ever
├── SourceUnavailableError         not reached, or it says that it cannot answer
└── SourceRefusedError             it answered that we may not: wrong token, too many requests, a bad query
"""

from daemonkit.errors import OperatorError


class ConfigError(OperatorError):
    exit_code = 2


class QuerySyntaxError(OperatorError):
    pass


class TemplateError(OperatorError):
    pass


class TargetError(OperatorError):
    pass


class CheckError(TargetError):
    pass


class ReloadError(TargetError):
    pass


class VerifyError(TargetError):
    pass


class NoRollBackError(TargetError):
    pass


class GivenUpError(OperatorError):
    """A source failed more often in a row than the configuration lets it."""

    exit_code = 1


class SourceError(Exception):
    pass


class SourceUnavailableError(SourceError):
    pass


class SourceRefusedError(SourceError):
    pass
