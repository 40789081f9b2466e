"""Logging to standard error: one JSON object a line, or lines for people."""

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

LEVELS: Final = ("debug", "info", "warn", "error", "fatal")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "scope": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def configure(level: str, form: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    pretty = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_Json() if form == "json" else pretty)
    wanted = {"warn": "WARNING", "fatal": "CRITICAL"}.get(level, level.upper())
    logging.basicConfig(level=wanted, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
