"""For everybody: readable by machines and people, light and dark, on a phone and on a wide screen; and quick.

Screenshots of each page go to reports/screenshots.
"""

import datetime as dt
import re
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import AXE, ZONE
from tests.browser.person import Person
from todo.operations.system import System

SHOTS: Final = Path(__file__).parents[2] / "reports/screenshots"
SIZES: Final = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
LOOKS: Final = (("light", "en-GB"), ("dark", "de-DE"))
MANY: Final = 5_000
PAGES: Final = (
    "today",
    "upcoming",
    "overdue",
    "inbox",
    "all",
    "done",
    "trash",
    "search/report",
    "filter",
    "pipeline",
    "settings",
)
DIALOGS: Final = {"q": "quick-add", "?": "keys", "s": "when"}
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def furnished(system: System) -> dict[str, Any]:
    """Somebody's tasks on an ordinary day."""
    today = dt.datetime.now(ZoneInfo(ZONE)).date()
    notes = "# Outline\n\n- numbers from **finance**\n- [the last one](https://example.org)\n\n> not too long"
    async with aiohttp.ClientSession(system.backend_url) as api:
        async with api.post("/lists", json={"name": "Household"}) as answer:
            household = (await answer.json())["id"]
        tasks: list[dict[str, Any]] = [
            {"title": "Call the dentist", "due_date": str(today - dt.timedelta(2)), "priority": 1, "labels": ["me"]},
            {"title": "Write the quarterly report", "due_date": str(today), "notes": notes, "labels": ["work"]},
            {"title": "Pay rent", "due_at": f"{today}T23:30:00", "zone": ZONE, "reminders": ["-PT1H"], "priority": 2,
             "recurrence": {"rule": "FREQ=MONTHLY;BYMONTHDAY=-1"}, "list_id": household},
            {"title": "Water the plants", "due_date": str(today + dt.timedelta(1)), "list_id": household,
             "recurrence": {"rule": "FREQ=DAILY;INTERVAL=3"}},
            {"title": "Buy a present for Ada", "due_date": str(today + dt.timedelta(3))},
            {"title": "Read a book"},
            {"title": "Old idea"},
            {"title": "Answer the letter"},
        ]  # fmt: skip
        made = [await _post(api, "/tasks", task) for task in tasks]
        await _post(api, "/tasks", {"title": "Collect the figures", "parent_id": made[1]["id"]})
        await _post(api, f"/tasks/{made[7]['id']}/complete", None)
        async with api.delete(f"/tasks/{made[6]['id']}") as answer:
            assert answer.status == 204
    return {one["title"]: one for one in made}


async def _post(api: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with api.post(path, json=body) as answer:
        assert answer.status in {200, 201}, await answer.text()
        return dict(await answer.json())


@pytest.mark.parametrize("look", [f"{size} {scheme} {locale}" for size in SIZES for scheme, locale in LOOKS])
async def test_each_page_is_for_everybody(browser: Browser, url: str, furnished: dict[str, Any], look: str) -> None:
    """axe finds no violation of WCAG 2.2 AA; dialogs and a task beside the page included."""
    size, scheme, locale = look.split()
    described: dict[str, Any] = {"locale": locale, "viewport": SIZES[size], "color_scheme": scheme}
    context = await browser.new_context(**described, timezone_id=ZONE, reduced_motion="reduce")
    page = await context.new_page()
    person = Person(page, url)
    found = []
    report = furnished["Write the quarterly report"]["id"]
    for place in (*PAGES, f"today?task={report}", f"why/{report}"):
        await person.opens(f"/{place}")
        await expect(page.locator("main > :not(h1)").first).to_be_visible()
        name = "task" if "?" in place else place.split("/")[0]
        found += await _violations(page, place, f"{name}-{size}-{scheme}")
    for key in DIALOGS:
        await person.opens("/all")
        await expect(page.locator(".row").first).to_be_visible()
        await page.locator("body").press(key)
        await expect(page.get_by_role("dialog")).to_be_visible()
        found += await _violations(page, f"key {key}", f"{DIALOGS[key]}-{size}-{scheme}")
        await page.keyboard.press("Escape")
    await context.close()
    assert found == []


async def _violations(page: Page, where: str, shot: str) -> list[str]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOTS / f"{shot}.png")
    await page.evaluate(AXE.read_text())
    report = await page.evaluate("tags => axe.run({runOnly: tags})", TAGS)
    return [
        f"{where}: {one['id']} ({one['help']}) at {[node['target'] for node in one['nodes']][:3]}"
        for one in report["violations"]
    ]


@pytest.mark.usefixtures("furnished")
async def test_it_is_light(browser: Browser, url: str) -> None:
    """What the first visit sends, compressed as it goes over the wire, and that nothing jumps while it appears."""
    context = await browser.new_context(locale="en-GB")
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    sent: list[int] = []
    session.on("Network.loadingFinished", lambda event: sent.append(int(event["encodedDataLength"])))
    await page.add_init_script(
        "globalThis.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(one => shift += one.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    await Person(page, url).opens("/today")
    await expect(page.locator(".row").first).to_be_visible()
    assert sum(sent) <= 120 * 1024
    assert await page.evaluate("shift") < 0.1  # what browsers call good
    await context.close()


async def test_five_thousand_tasks_are_as_few_rows_as_are_in_sight(person: Person, api: aiohttp.ClientSession) -> None:
    """How long something takes here is bench work; that only what is in sight exists is what makes it quick."""
    lines = "title\n" + "".join(f"Item {number:04}\n" for number in range(MANY))
    query = {"format": "csv", "dry_run": "false"}
    async with api.post("/imports", params=query, data=lines.encode()) as answer:
        assert f'"imported":{MANY}' in (await answer.text()).replace(" ", "")
    await person.opens("/all")
    await expect(person.page.locator(".virtual")).to_be_visible()
    complete = re.compile(rf"^{MANY // 1000}[0-9]{{3}}$")
    await expect(person.page.locator(".row").first).to_have_attribute("aria-setsize", complete, timeout=60_000)
    assert await person.page.locator(".row").count() < 100
    await person.page.locator("main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    await expect(person.page.locator(".row").last).to_be_visible()
    assert await person.page.locator(".row").count() < 100
