"""docs/doctor.md says what the code says."""

from pathlib import Path

from todo.operations.doctor.findings import TABLE

DOCUMENT = Path(__file__).parents[4] / "docs" / "doctor.md"


def test_every_code_has_its_row_word_for_word() -> None:
    """In the order of the code's table; no row for what cannot be found."""
    rows = [line for line in DOCUMENT.read_text().split("## Codes")[1].splitlines() if line.startswith("| `")]
    assert rows == [f"| `{code}` | {one.means} | {one.known_by} | {one.to_do} |" for code, one in TABLE.items()]
