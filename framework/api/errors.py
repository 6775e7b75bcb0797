"""What the API answers when it cannot do as asked. Marathon's clients match some of these texts, so they are to the letter.

ApiError                     status, body
├── BadRequestError          400: not JSON, no body, parameters that contradict each other
├── UnprocessableError       422
│   ├── InvalidJsonError     JSON of the wrong types, `details` by path
│   └── InvalidObjectError   well-formed, but breaks rules, `details` by path
├── NotFoundError            404
├── ConflictError            409
├── ForbiddenError           403
├── PreconditionError        412: not the version that If-Match names
├── TooLargeError            413
├── TooManyError             429
└── UnavailableError         503
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Violation:
    """`path` as Marathon writes it: `/container/docker/image`, `/ports(0)`, `/` for the whole."""

    path: str
    message: str


class ApiError(Exception):
    status = 500

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"message": message, **more}
        self.headers = dict(headers or {})


class BadRequestError(ApiError):
    status = 400


class NotFoundError(ApiError):
    status = 404

    @classmethod
    def of(cls, kind: str, name: str, version: str | None = None) -> "NotFoundError":
        return cls(f"{kind} '{name}' does not exist" + (f" in version {version}" if version else ""))


class ConflictError(ApiError):
    status = 409


class ForbiddenError(ApiError):
    status = 403


class PreconditionError(ApiError):
    status = 412


class TooLargeError(ApiError):
    status = 413


class TooManyError(ApiError):
    status = 429


class UnavailableError(ApiError):
    status = 503


class UnprocessableError(ApiError):
    status = 422


class _DetailedError(UnprocessableError):
    message: str

    def __init__(self, violations: Iterable[Violation]) -> None:
        by_path: dict[str, list[str]] = {}
        for violation in violations:
            errors = by_path.setdefault(violation.path, [])
            if violation.message not in errors:
                errors.append(violation.message)
        super().__init__(self.message, details=[{"path": path, "errors": errors} for path, errors in by_path.items()])


class InvalidJsonError(_DetailedError):
    message = "Invalid JSON"


class InvalidObjectError(_DetailedError):
    message = "Object is not valid"
