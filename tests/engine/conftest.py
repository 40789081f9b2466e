import pytest

from tests.faults.conftest import seed, show

__all__ = ["seed", "show"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option of the contract suite too; what is in this folder runs on stock daprd whatever it says."""
    try:
        parser.addoption("--engine", choices=["daprd"], help="the engine of these tests, the only one")
    except ValueError:  # the contract suite was asked for as well and has it already
        return
