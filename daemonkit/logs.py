"""Structured logs: JSON lines in production, coloured text on a terminal. Secrets are masked by key, wherever they stand."""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

# structlog would import rich, and that pygments, for tracebacks in colour: a fifth of the time that a daemon takes to start, and 4 MB.
_FOUND = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # "it is not installed"
import structlog  # noqa: E402

if _FOUND:
    sys.modules["rich"] = _FOUND
else:
    del sys.modules["rich"]

Format = Literal["auto", "json", "text"]

_SECRET_KEY = re.compile(r"(passw|secret|token|authorization|credential|api_?key|private_?key)", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^/\s:@]*):[^/\s]+@")  # up to the last @: one may stand in the password
MASK = "***"
_FIRST = ("timestamp", "level", "daemon", "logger", "event")


def configure(*, daemon: str, level: str = "info", format: Format = "auto") -> None:
    """Sends structlog's and the standard library's records to stderr in one form, each with the daemon's name."""
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask,
    ]
    final: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, _mask, _in_order, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        # What nobody will read is not worked out.
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("urllib3", "kazoo", "docker", "uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    structlog.contextvars.bind_contextvars(daemon=daemon)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def masked(value: object, key: str = "") -> object:
    """`value` with everything below a secret-sounding key, and passwords in URLs, replaced by `***`."""
    if key and _SECRET_KEY.search(key) and value not in (None, "", False, True):
        return MASK
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
    return value


def _traceback(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """For people: never with the frames' variables, which structlog would show where rich is loaded, and masked as the rest is."""
    output.write("\n" + str(masked("".join(traceback.format_exception(*exc_info)).rstrip("\n"))))


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What every line has comes first, so that a file of them can be read by people too."""
    return {key: event[key] for key in _FIRST if key in event} | dict(event)


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key not in ("exc_info", "_record", "_from_structlog"):
            event[key] = masked(value, key)
    return event
