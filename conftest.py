import os

import pytest

from todo.operations import ports

SHARE = 3_000  # ports


def pytest_configure() -> None:
    """Workers of one run take their free ports from ranges of their own: a port is free until its server listens."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        first = ports.FREE_RANGE.start + SHARE * (int(worker.removeprefix("gw")) % 4)
        setattr(ports, "FREE_RANGE", range(first, first + SHARE))  # noqa: B010 - it is final for everybody else


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that was skipped in CI is a failure: nobody would see that it no longer proves anything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
