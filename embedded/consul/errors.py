"""What the API answers when it refuses or fails: a status and a line of text.

ApiError
├── BadRequestError         400
├── AclDisabledError        401  there are no tokens here
├── PermissionDeniedError   403  the token may not
├── AclNotFoundError        403  no such token
├── NotFoundError           404
├── MethodNotAllowedError   405
├── TooLargeError           413
└── FailedError             500  also for most of what a client did wrong: so does the real one
"""

from collections.abc import Sequence


class ApiError(Exception):
    status = 500

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text


class BadRequestError(ApiError):
    status = 400


class AclDisabledError(ApiError):
    status = 401

    def __init__(self) -> None:
        super().__init__("ACL support disabled")


class PermissionDeniedError(ApiError):
    status = 403

    def __init__(self, more: str = "") -> None:
        super().__init__(f"Permission denied: {more}" if more else "Permission denied")


class AclNotFoundError(ApiError):
    status = 403

    def __init__(self) -> None:
        super().__init__("ACL not found")


class NotFoundError(ApiError):
    status = 404


class MethodNotAllowedError(ApiError):
    status = 405

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"method {method} not allowed")
        self.allowed = ",".join(["OPTIONS", *allowed])


class TooLargeError(ApiError):
    status = 413


class FailedError(ApiError):
    status = 500
