"""Where the log goes: stderr, or the file and the syslog that the configuration names."""

import logging
import logging.handlers
from pathlib import Path

from consul_template_py.config import Config, SyslogConfig
from consul_template_py.errors import ConfigError
from daemonkit import logs

# consul-template's names for what the field calls otherwise.
_LEVELS = {"trace": "debug", "warn": "warning", "err": "error"}


def configure(settings: Config) -> None:
    """Raises ConfigError."""
    level = _LEVELS.get(settings.log_level.lower(), settings.log_level.lower())
    if level not in ("debug", "info", "warning", "error", "critical"):
        raise ConfigError(f"log_level {settings.log_level!r} is none of debug, info, warning, error")
    logs.configure(daemon="consul-template", level=level)
    outputs: list[logging.Handler] = []
    if settings.log_file:
        try:
            outputs.append(logging.handlers.WatchedFileHandler(settings.log_file))
        except OSError as error:
            raise ConfigError(f"log_file {settings.log_file}: {error.strerror}") from None
    if settings.syslog.enabled:
        outputs.append(syslog_handler(settings.syslog))
    formatter = logging.getLogger().handlers[0].formatter
    for output in outputs:
        output.setFormatter(formatter)
    if outputs:
        logging.getLogger().handlers = outputs


def syslog_handler(settings: SyslogConfig) -> logging.Handler:
    """Raises ConfigError."""
    facilities = logging.handlers.SysLogHandler.facility_names
    facility = facilities.get(settings.facility.lower())
    if facility is None:
        raise ConfigError(f"syslog.facility {settings.facility!r} does not exist; one of {', '.join(facilities)}")
    address: str | tuple[str, int] = settings.address
    if not settings.address.startswith("/"):
        host, _, port = settings.address.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"syslog.address {settings.address!r} is neither a socket's path nor host:port")
        address = (host.strip("[]"), int(port))
    elif not Path(settings.address).is_socket():  # the handler would say so with each line that it loses
        raise ConfigError(f"syslog.address {settings.address}: no syslog listens there; start one, or name its socket")
    try:
        handler = logging.handlers.SysLogHandler(address, facility=facility)
    except OSError as error:
        raise ConfigError(f"syslog.address {settings.address}: {error.strerror}") from None
    handler.ident = f"{settings.name}: "
    return handler
