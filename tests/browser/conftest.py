"""The real system, and Chromium in front of it. What the page complains about in its console fails the test."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.browser.person import Person
from tests.support.children import Recorder
from todo.operations.system import HANDED_OUT, System
from todo.operations.up import UpOptions, running_system

expect.set_options(timeout=20_000)  # ms: what is waited for comes at once, but not on a machine that is busy
ZONE: Final = "Europe/Berlin"
PLAIN: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}
AXE: Final = Path(__file__).parents[2] / "tools/web/node_modules/axe-core/axe.min.js"
# What the browser itself writes when the server is away, which some tests want.
_AWAY: Final = ("Failed to load resource", "ERR_", "EventSource")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of a file share one event loop, one system and one browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    environ = PLAIN | {"TODO_ZONE": ZONE}
    options = UpOptions(temporary=True, free_ports=True, durable=False, environ=environ, log_format="json")
    async with running_system(options, Recorder()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(system: System) -> str:
    return system.backend_url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A script beside the browser: what it does shows that the page uses nothing that others could not."""
    async with aiohttp.ClientSession(url) as session:
        yield session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        sandboxed = os.geteuid() != 0  # Chromium refuses to make one as root
        launched = await playwright.chromium.launch(executable_path=_chromium(), chromium_sandbox=sandboxed)
        try:
            yield launched
        finally:
            await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh browser profile of a person in Berlin who reads English."""
    made = await browser.new_context(locale="en-GB", timezone_id=ZONE, viewport={"width": 1280, "height": 800})
    made.set_default_timeout(20_000)
    complaints: list[str] = []
    made.on("console", lambda message: _note(message, complaints))
    made.on("weberror", lambda error: complaints.append(str(error.error)))
    try:
        yield made
    finally:
        await made.close()
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest_asyncio.fixture(loop_scope="module")
async def person(page: Page, url: str) -> Person:
    """Somebody at the page, which is loaded and follows the server."""
    somebody = Person(page, url)
    await somebody.opens("/today")
    return somebody


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in {"error", "warning"} and not any(part in message.text for part in _AWAY):
        complaints.append(message.text)


def _chromium() -> str:
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("no Chromium here: install it (on Debian: apt-get install chromium), or name one in CHROMIUM")
    return found
