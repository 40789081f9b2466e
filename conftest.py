import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that was skipped in CI is a failure: nobody would see that it no longer proves anything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
