"""The error tree of the embedded Mesos.

MesosError            shown as one line: what is wrong and how to mend it
├── ResourcesError    a resources or attributes string that cannot be read
└── CallError         a call that is answered with an HTTP status and a line of text
"""

from daemonkit.errors import OperatorError


class MesosError(OperatorError):
    pass


class ResourcesError(MesosError):
    exit_code = 2


class CallError(MesosError):
    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
