"""How everything logs: one line each, as JSON or to be read, with ids and without tokens.

The host uses it as it is; ``console.logs`` makes Django's configuration of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

#: In front of what renders a record, whoever made it.
SHARED: Final[list[structlog.types.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
_CONTROLS: Final = {
    code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
}
_TOKEN: Final = re.compile(r"\bork_[0-9A-Za-z]{8,}")


def rendering(*, as_json: bool) -> list[structlog.types.Processor]:
    """From a record to its line: one JSON object for machines, otherwise text for a terminal."""
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    last: list[structlog.types.Processor]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [one_line, structlog.dev.ConsoleRenderer(colors=False)]
    return [drop, *last, without_tokens]


def one_line(
    _logger: Any, _name: str, record: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What came from outside begins no line and speaks to no terminal; values are quoted anyway."""
    if isinstance(record.get("event"), str):
        record["event"] = record["event"].translate(_CONTROLS)
    return record


def without_tokens(_logger: Any, _name: str, line: Any) -> Any:
    """A line in which every token is its first four characters, whatever brought it there."""
    if isinstance(line, str) and "ork_" in line:
        return _TOKEN.sub("ork_…", line)
    return line


def set_up(*, as_json: bool) -> None:
    """Of the standard library's records; what is bound (``sandbox_id``) is in each of them."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED, processors=rendering(as_json=as_json)
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
