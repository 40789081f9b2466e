"""The table of exceptions is true and told."""

import re
from pathlib import Path

import pytest

from .exceptions import EXCEPTIONS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs" / "engine-differences.md"
ROW = re.compile(r"^\| (\w+) \| `([\w:]+)` \| (.+) \|$", re.MULTILINE)


def test_the_document_has_the_same_rows() -> None:
    """What is left out on an engine, and why, is what the document tells."""
    told = {(engine, test): reason for engine, test, reason in ROW.findall(DOCUMENT.read_text())}
    assert told == EXCEPTIONS


@pytest.mark.parametrize("test", sorted({test for _, test in EXCEPTIONS}))
def test_an_exception_names_a_test(test: str) -> None:
    """A row does not outlive its test."""
    module, _, name = test.partition("::")
    assert f"def {name}(" in (HERE / f"{module}.py").read_text()
