"""What can go wrong between the framework and the master.

MesosError
├── MasterAddressError      the setting `master` cannot be used
└── CallError               a call that was not accepted: status and text of the answer
"""

from daemonkit.errors import OperatorError


class MesosError(OperatorError):
    pass


class MasterAddressError(MesosError):
    pass


class CallError(MesosError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the master answered {status}: {text}")
        self.status, self.text = status, text
