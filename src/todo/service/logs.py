"""One log, structured: JSON lines for machines, aligned and coloured for people."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

Fields = MutableMapping[str, Any]


def configure(service: str, log_format: str, level: str) -> None:
    """Send structlog and the standard library's loggers to stdout in one format."""

    def name_service(_: object, __: str, fields: Fields) -> Fields:
        fields["service"] = service
        return fields

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = log_format == "pretty"
    ending: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if pretty
        else [name_service, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _json(fields: object, **_: object) -> str:
    return msgspec.json.encode(fields, enc_hook=str).decode()
