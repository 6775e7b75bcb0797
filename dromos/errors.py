"""What the command line can end with, and the exit code that says so.

    CommandError                   1  it was tried and failed
    ├── NotReachableError             3  no API answered
    ├── sandbox.MissingError          1  an agent does not have it
    └── DeploymentFailedError         4  a deployment failed, was cancelled or took too long
Usage errors (2) are click's and daemonkit's SettingsError.
"""

from daemonkit.errors import OperatorError


class CommandError(OperatorError):
    exit_code = 1


class NotReachableError(CommandError):
    exit_code = 3


class DeploymentFailedError(CommandError):
    exit_code = 4
