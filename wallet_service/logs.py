"""Structured logs: one JSON object a line on standard error."""

import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import BinaryIO, cast

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger


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
