"""The formats that are read and written."""

from enum import StrEnum
from typing import Final

from todo.backend.porting import ics, own_csv, own_json, todoist, vikunja
from todo.backend.porting.entries import Reader


class ImportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    ICS = "ics"
    TODOIST = "todoist"
    VIKUNJA = "vikunja"


class ExportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    ICS = "ics"


MEDIA_TYPES: Final = {
    ExportFormat.JSON: "application/json",
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.ICS: "text/calendar; charset=utf-8",
}
READERS: Final[dict[ImportFormat, Reader]] = {
    ImportFormat.JSON: own_json.read,
    ImportFormat.CSV: own_csv.read,
    ImportFormat.ICS: ics.read,
    ImportFormat.TODOIST: todoist.read,
    ImportFormat.VIKUNJA: vikunja.read,
}
