"""The table of exceptions is true and told."""

import re
from pathlib import Path

import pytest

from tests.sidecars.differences import KNOWN

from .exceptions import EXCEPTIONS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs" / "engine-differences.md"
ROW = re.compile(r"^\| ([\w+]+) \| `([\w:]+)` \| (.+) \|$", re.MULTILINE)
CALL = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_the_document_has_the_same_rows() -> None:
    """What is left out on an engine, and why, is what the document tells."""
    told = {(engine, test): reason for engine, test, reason in ROW.findall(DOCUMENT.read_text())}
    assert told == EXCEPTIONS


def test_the_document_has_the_same_calls() -> None:
    """The same of the calls that are answered differently."""
    told = CALL.findall(DOCUMENT.read_text().partition("## Calls that are")[2].partition("\n## ")[0])
    assert told[1:] == [(known.name, known.why) for known in KNOWN]


@pytest.mark.parametrize("test", sorted({test for _, test in EXCEPTIONS}))
def test_an_exception_names_a_test(test: str) -> None:
    """A row does not outlive its test."""
    module, _, name = test.partition("::")
    assert f"def {name}(" in (HERE / f"{module}.py").read_text()
