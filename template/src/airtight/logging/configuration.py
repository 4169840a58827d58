"""Configures `logging` for a service, however it is started."""

import logging
import logging.config
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from .formatters import build_formatter
from .handler import LogHandler
from .log_file import LogFile
from .redaction import set_redacted_names
from .stdout import Stdout
from .uncaught import hooks
from .writer import LineWriter, Target

# httpx2 logs a line for each call, at INFO.
DEFAULT_LEVELS = {"httpx2": "warning"}
UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access")

logger = logging.getLogger(__name__)


def configure_logging(
    level: str,
    log_format: str,
    service_name: str = "",
    log_file: Path | None = None,
    *,
    levels: Mapping[str, str] | None = None,
    redact_fields: Iterable[str] = (),
) -> None:
    """Send all records to stdout, and to a file if there is one; leave handlers of others alone.

    Args:
        level: the lowest level of records that are written.
        log_format: `json`, `ecs` or `console`.
        service_name: the name of the service, which `ecs` wants.
        log_file: a second place for the same lines.
        levels: the levels of single loggers, such as `{"httpx2": "warning"}`.
        redact_fields: names of fields that are secret, besides those that everybody expects.
    """
    _Current.repeat = partial(
        configure_logging,
        level,
        log_format,
        service_name,
        log_file,
        levels=levels,
        redact_fields=redact_fields,
    )
    set_redacted_names(redact_fields)
    color = log_file is None and "NO_COLOR" not in os.environ and _is_terminal()
    targets: list[Target] = [Stdout()]
    if log_file is not None:
        targets.append(LogFile(log_file))
    writers = [LineWriter(target, report_dropped) for target in targets]
    handler = LogHandler(log_format, build_formatter(log_format, service_name, color), writers)
    _replace_handlers(handler)
    logging.config.dictConfig(build_config(level, levels or {}))
    logging.captureWarnings(True)
    hooks.set()
    # `fastapi run` has uvicorn apply its default after it has imported the service.
    LOGGING_CONFIG.update(incremental=True, handlers={}, loggers={})


class _Current:
    """Holds what configures logging as it was configured last."""

    repeat: Callable[[], None] | None = None


def restore_logging() -> None:
    """Configure logging again if a server has put handlers of its own in place meanwhile."""
    has_foreign_handlers = any(logging.getLogger(name).handlers for name in UVICORN_LOGGERS)
    if has_foreign_handlers and _Current.repeat is not None:
        _Current.repeat()


def build_config(level: str, levels: Mapping[str, str]) -> dict[str, Any]:
    """Return levels and propagation in the form that `logging.config` defines."""
    loggers: dict[str, dict[str, Any]] = {
        name: {"level": name_level.upper()}
        for name, name_level in (DEFAULT_LEVELS | dict(levels)).items()
    }
    for name in UVICORN_LOGGERS:
        # The access line is ours.
        loggers.setdefault(name, {})["propagate"] = name != "uvicorn.access"
    return {
        "version": 1,
        "incremental": True,  # else it would close the handlers of others, such as those of tests
        "root": {"level": level.upper()},
        "loggers": loggers,
    }


def _replace_handlers(handler: LogHandler) -> None:
    """Put our handler in the place of an earlier one, of `basicConfig` and of uvicorn's own."""
    for old in logging.root.handlers[:]:
        if type(old) in (LogHandler, logging.StreamHandler):
            logging.root.removeHandler(old)
        if isinstance(old, LogHandler):
            old.flush()
            old.close()
    logging.root.addHandler(handler)
    for name in UVICORN_LOGGERS:
        logging.getLogger(name).handlers.clear()


def report_dropped(place: str, count: int) -> None:
    """Log how many records were dropped while a place could not be written to."""
    fields = {"place": place, "dropped_records": count}
    # The first write after the stream has recovered reports it, but not with the id of its request.
    Context().run(logger.warning, "log records were dropped", extra=fields)


def flush(timeout: float = 2.0) -> bool:
    """Write what is buffered, and return whether all was written within `timeout` seconds."""
    results = [handler.flush_within(timeout) for handler in _handlers()]
    return all(results)


def dropped_records() -> int:
    """Return how many records this process has dropped."""
    return LineWriter.total_dropped


def restore_exception_hooks() -> None:
    """Put back the hooks for uncaught exceptions that were there before `configure_logging`."""
    hooks.restore()


def _handlers() -> list[LogHandler]:
    return [handler for handler in logging.root.handlers if isinstance(handler, LogHandler)]


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
