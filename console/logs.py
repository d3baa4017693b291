"""How everything logs: one line each, with the ids of the request and the sandbox it is about."""

from __future__ import annotations

from typing import Any

import structlog

from sandboxes.host.logs import SHARED, rendering


def logging_config(*, as_json: bool) -> dict[str, Any]:
    """A ``dictConfig`` that sends structlog's and the standard library's records the same way.

    ``as_json`` gives one JSON object a line for machines, otherwise text for a terminal. Whatever
    is bound with ``structlog.contextvars`` (``request_id``, ``account_id``,
    ``sandbox_id``) is in every record.
    """
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": rendering(as_json=as_json),
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Daphne's own line per request says less than ours and costs more.
            "daphne": {"level": "WARNING"},
            "twisted": {"level": "WARNING"},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # The reaper runs every second; only what goes wrong with it is news.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            # Every 404 and 403 as a warning would bury what matters; 5xx stays.
            "django.request": {"level": "ERROR"},
            "django.channels.server": {"level": "WARNING"},
        },
    }
