"""Structured logs: one JSON object a line on standard error."""

import contextlib
import logging
import sys
import threading
from datetime import UTC, datetime
from traceback import format_tb
from types import TracebackType
from typing import BinaryIO, cast

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

#: Causes may stand in a circle.
_CAUSES_MAX = 10

_log = structlog.get_logger()


def configure_logs(level: str) -> None:
    """Send everything of a level and above to standard error, as JSON."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _line_of],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.BytesLoggerFactory(file=cast("BinaryIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda uncaught: _log_uncaught(
        uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback
    )


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """
    Log what nobody caught, without the text that may hold rows.

    The driver of PostgreSQL brings here what a connection that was ended in the middle of COPY said
    of its line: sums. Only the first line of such a text is free of them.
    """
    if issubclass(kind, SystemExit):
        return  # a thread's way to end
    causes = [f"{kind.__name__}: {error}".partition("\n")[0]]
    while error and len(causes) < _CAUSES_MAX and (error := error.__cause__ or error.__context__):
        causes.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    _log.error("uncaught", causes=causes, frames=format_tb(traceback))


def _line_of(_logger: WrappedLogger, level: str, event: EventDict) -> bytes:
    event["level"] = level
    event["timestamp"] = datetime.now(UTC)
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_UTC_Z)
    except TypeError:  # text that is none, such as a file's odd name
        return orjson.dumps({name: ascii(value) for name, value in event.items()})


class _StandardError:
    """Loses what cannot be written: no call shall fail, no thread end, for want of a reader."""

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.flush()
