"""What a person does with tasks, once each, in front of the real system."""

import datetime as dt
import re
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.browser.conftest import ZONE
from tests.browser.person import Person


def today(days: int = 0) -> str:
    return str((dt.datetime.now(ZoneInfo(ZONE)) + dt.timedelta(days=days)).date())


async def made(api: aiohttp.ClientSession, **task: object) -> dict[str, object]:
    async with api.post("/tasks", json=task) as answer:
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


async def test_the_first_visit_is_no_empty_page(person: Person) -> None:
    """Three examples are offered and taken as they are read, and the way to the mailbox is shown."""
    welcome = person.page.locator(".welcome")
    await expect(welcome).to_contain_text("Water the plants every 3 days 6pm #home remind 10m")
    await expect(welcome.get_by_role("link")).to_have_attribute("href", re.compile(":8025"))
    await welcome.get_by_role("button", name="Take these three").click()
    await person.saved_all()
    await person.goes("All tasks")
    await person.sees("Water the plants", "Pay rent", "Try this app")


async def test_a_line_is_read_back_before_it_is_saved(person: Person, api: aiohttp.ClientSession) -> None:
    dialog = await person.writes("call the bank every last day of month 9am #money !1 remind 1h")
    said = dialog.locator(".said")
    await expect(said).to_contain_text("last day of every month, 09:00 Europe/Berlin")
    await expect(said).to_contain_text("mail 1 h before")
    await expect(dialog.locator("mark")).to_have_text(["every last day of month", "9am", "#money", "!1", "remind 1h"])
    await dialog.get_by_role("button", name="Add", exact=True).click()
    await person.saved_all()
    async with api.get("/tasks", params={"q": "bank"}) as answer:
        (task,) = (await answer.json())["tasks"]
    assert (task["title"], task["labels"], task["priority"]) == ("call the bank", ["money"], 1)
    assert (task["recurrence"]["rule"], task["reminders"]) == ("FREQ=MONTHLY;BYMONTHDAY=-1", ["-PT1H"])


async def test_what_was_done_can_be_taken_back(person: Person, api: aiohttp.ClientSession) -> None:
    """By the note, and by Ctrl-Z."""
    await made(api, title="Feed the cat", due_date=today())
    await person.opens("/today")
    await person.completes("Feed the cat")
    await person.sees_no("Feed the cat")
    note = await person.is_told("Done: Feed the cat")
    await note.get_by_role("button", name="Undo").click()
    await person.sees("Feed the cat")
    await person.completes("Feed the cat")
    await person.saved_all()
    await person.page.locator("body").press("Control+z")
    await person.sees("Feed the cat")


async def test_one_of_a_series_says_when_the_next_is(person: Person, api: aiohttp.ClientSession) -> None:
    series = {"rule": "FREQ=WEEKLY", "mode": "due", "policy": "skip"}
    await made(api, title="Take out the bins", due_date=today(), zone=ZONE, recurrence=series)
    await person.opens("/today")
    await person.completes("Take out the bins")
    following = dt.date.fromisoformat(today(7))
    await person.is_told(re.compile(rf"Next: \w+,? {following.day} "))


async def test_a_task_is_changed_beside_the_page(person: Person, api: aiohttp.ClientSession) -> None:
    task = await made(api, title="Plan the party", due_date=today())
    await person.opens("/all")
    detail = await person.shows("Plan the party")
    await detail.get_by_label("Title").fill("Plan the big party")
    await detail.get_by_label("Title").press("Enter")
    await detail.get_by_role("button", name="Add notes").click()
    await detail.get_by_label("Notes").fill("# Guests\n\n- **Ada**\n- [map](https://example.org/map)")
    await detail.get_by_label("Notes").blur()
    await expect(detail.locator(".markdown strong")).to_have_text("Ada")
    await expect(detail.get_by_role("link", name="map")).to_have_attribute("rel", re.compile("noopener"))
    await detail.get_by_label("Priority").select_option("2")
    await detail.get_by_label("Add a label").fill("fun")
    await detail.get_by_label("Add a label").press("Enter")
    await detail.get_by_label("Add a subtask").fill("Buy a cake")
    await detail.get_by_label("Add a subtask").press("Enter")
    await detail.get_by_label("Time").fill("18:30")
    await detail.get_by_label("Start").fill(today(-1))
    await person.saved_all()
    async with api.get(f"/tasks/{task['id']}") as answer:
        kept = await answer.json()
    assert (kept["title"], kept["priority"], kept["labels"]) == ("Plan the big party", 2, ["fun"])
    assert kept["start_date"] == today(-1)
    assert dt.datetime.fromisoformat(kept["due_at"]).astimezone(ZoneInfo(ZONE)).strftime("%H:%M") == "18:30"
    async with api.get("/tasks", params={"parent_id": str(task["id"])}) as answer:
        assert [one["title"] for one in (await answer.json())["tasks"]] == ["Buy a cake"]
    await expect(person.row("Plan the big party")).to_contain_text("0/1")


async def test_how_it_repeats_is_said_in_words(person: Person, api: aiohttp.ClientSession) -> None:
    await made(api, title="Water the garden", due_date=today())
    await person.opens("/all")
    detail = await person.shows("Water the garden")
    await detail.get_by_role("button", name="Does not repeat").click()
    await detail.get_by_label("Repeat").fill("every blue moon")
    await expect(detail.get_by_role("alert")).to_be_visible()
    await detail.get_by_label("Repeat").fill("every last friday of month")
    await expect(detail.locator(".repeat .next")).to_contain_text("Fri")
    await detail.get_by_label("Repeat").press("Enter")
    await expect(detail.get_by_role("button", name="last Friday of every month")).to_be_visible()
    await detail.get_by_role("button", name="Stop repeating").click()
    await expect(detail.get_by_role("button", name="Does not repeat")).to_be_visible()


async def test_what_became_of_a_reminder_is_told(person: Person, api: aiohttp.ClientSession) -> None:
    """On its way, then mailed at what second to whom; and it can remind again."""
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    await made(api, title="Tea is ready", due_at=now.isoformat(), reminders=["PT0S"])
    await person.opens("/all")
    detail = await person.shows("Tea is ready")
    await expect(detail.locator(".state")).to_contain_text("scheduled for")
    await expect(detail.locator(".state.delivered")).to_have_text(re.compile(r"mailed Today \d\d:\d\d:\d\d to \S+@\S+"))
    await detail.get_by_role("button", name="Remind again").click()
    await detail.get_by_role("menuitem", name="in an hour").click()
    await expect(detail.locator(".reminders li")).to_have_count(2)
    await detail.get_by_role("link", name="What happened, step by step").click()
    await expect(person.page.locator(".step.email-delivery")).to_contain_text("delivered")


async def test_the_trash_gives_back(person: Person, api: aiohttp.ClientSession) -> None:
    await made(api, title="Old idea")
    await person.opens("/all")
    detail = await person.shows("Old idea")
    await detail.get_by_role("button", name="Delete", exact=True).click()
    await person.sees_no("Old idea")
    await person.goes("Trash")
    await person.row("Old idea").get_by_role("button", name="Restore").click()
    await person.goes("All tasks")
    await person.sees("Old idea")


async def test_of_a_series_it_is_asked_how_much_is_deleted(person: Person, api: aiohttp.ClientSession) -> None:
    await made(api, title="Gym", due_date=today(), recurrence={"rule": "FREQ=DAILY"})
    await person.opens("/all")
    detail = await person.shows("Gym")
    await detail.get_by_role("button", name="Delete", exact=True).click()
    await person.page.get_by_role("button", name="Delete all of them").click()
    await person.sees_no("Gym")
    await person.saved_all()
    async with api.get("/tasks", params={"q": "gym"}) as answer:
        assert (await answer.json())["tasks"] == []


async def test_many_are_changed_at_once_and_taken_back_at_once(person: Person, api: aiohttp.ClientSession) -> None:
    for number in range(3):
        await made(api, title=f"Box {number}")
    await person.opens("/search/Box")
    for number in range(3):
        await person.row(f"Box {number}").locator(".title").click(modifiers=["Control"])
    bar = person.page.get_by_role("toolbar")
    await expect(bar).to_contain_text("3 selected")
    await bar.get_by_role("button", name="Complete").click()
    await expect(person.page.locator(".row.closed")).to_have_count(3)
    note = await person.is_told("3 tasks done")
    await note.get_by_role("button", name="Undo").click()
    await expect(person.page.locator(".row.closed")).to_have_count(0)


async def test_everything_has_a_key(person: Person, api: aiohttp.ClientSession) -> None:
    for number in range(2):
        await made(api, title=f"Key {number}", labels=["keyed"])
    await person.opens("/label/keyed")
    await person.sees_in_order(["Key 0", "Key 1"])
    page = person.page
    await page.keyboard.press("j")
    await page.keyboard.press("1")
    await expect(person.row("Key 1").locator(".check")).to_have_class(re.compile("p1"))
    await page.keyboard.press("Alt+ArrowUp")
    await person.sees_in_order(["Key 1", "Key 0"])
    await person.saved_all()
    await page.reload()
    await person.sees_in_order(["Key 1", "Key 0"])
    await page.keyboard.press("s")
    await page.get_by_role("button", name="Tomorrow").click()
    await expect(person.row("Key 1")).to_contain_text("Tomorrow")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("e")
    await person.sees_in_order(["Key 0"])
    await page.keyboard.press("g")
    await page.keyboard.press("u")
    await expect(page.get_by_role("heading", name="Upcoming", level=1)).to_be_visible()


async def test_a_task_is_dragged_to_another_day(person: Person, api: aiohttp.ClientSession) -> None:
    task = await made(api, title="Drag me", due_date=today())
    await person.opens("/upcoming")
    await person.row("Drag me").drag_to(person.page.locator(".week li").nth(2))
    await person.saved_all()
    async with api.get(f"/tasks/{task['id']}") as answer:
        assert (await answer.json())["due_date"] == today(2)


async def test_lists_are_made_and_filled(person: Person, api: aiohttp.ClientSession) -> None:
    await person.page.get_by_role("button", name="New list").click()
    await person.page.get_by_label("Name of the list").fill("Errands")
    await person.page.get_by_role("button", name="Save").click()
    await expect(person.page.get_by_role("heading", name="Errands", level=1)).to_be_visible()
    await person.adds("buy stamps")
    await person.adds("post the letter @Errands tomorrow")
    await person.sees("buy stamps", "post the letter")
    await person.saved_all()
    async with api.get("/tasks", params={"filter": "@errands"}) as answer:
        found = {one["title"] for one in (await answer.json())["tasks"]}
    assert found == {"buy stamps", "post the letter"}


async def test_a_filter_is_written_with_help_and_saved(person: Person, api: aiohttp.ClientSession) -> None:
    """A mistake is pointed at; what is found follows what changes; a saved one is a page of its own."""
    await made(api, title="Deep work", labels=["focus"], priority=1)
    await made(api, title="Shallow work", labels=["focus"], priority=3)
    await person.opens("/filter")
    text = person.page.get_by_label("Filter")
    await text.fill("#focus & !9")
    await expect(person.page.locator("mark.fault")).to_have_text("!9")
    await text.fill("#focus & !1")
    await person.sees_in_order(["Deep work"])
    await person.page.get_by_role("button", name="Save as a view").click()
    await person.page.get_by_label("Name of the view").fill("Deep")
    await person.page.get_by_role("button", name="Save", exact=True).click()
    await person.goes("Deep")
    await person.sees_in_order(["Deep work"])
    await made(api, title="Deeper work", labels=["focus"], priority=1)
    await person.sees("Deeper work")


async def test_tasks_are_taken_along_and_brought_back(person: Person, api: aiohttp.ClientSession) -> None:
    """A file is looked at first, with what of it is lost; importing it twice makes nothing twice."""
    await person.opens("/settings")
    async with person.page.expect_download() as download:
        await person.page.get_by_role("link", name="todo (CSV)").click()
    assert (await (await download.value).path()).read_text().startswith("id,")
    text = b"title,colour\nBrought along,red\n"
    file: FilePayload = {"name": "tasks.csv", "mimeType": "text/csv", "buffer": text}
    chooser = person.page.get_by_label("File")
    await chooser.set_input_files(file)
    await expect(person.page.locator(".losses")).to_contain_text("colour: there is no such column here")
    await expect(person.page.locator(".settings")).to_contain_text("1 task read, 0 imported")
    await person.page.get_by_role("button", name="Import", exact=True).click()
    await expect(person.page.locator(".settings")).to_contain_text("1 task read, 1 imported")
    await chooser.set_input_files([])
    await chooser.set_input_files(file)
    await expect(person.page.locator(".settings")).to_contain_text("0 imported, 1 already here")
    await expect(person.page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    async with api.get("/tasks", params={"q": "brought"}) as answer:
        assert len((await answer.json())["tasks"]) == 1


@pytest.mark.parametrize(
    "title", ['<img src=x onerror="alert(1)">', '"><script>alert(1)</script>', "javascript:alert(1)"]
)
async def test_text_never_becomes_a_script(person: Person, page: Page, api: aiohttp.ClientSession, title: str) -> None:
    """In titles, notes, labels and names of lists."""
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    notes = f"{title}\n\n[x](javascript:alert(1)) <a href='javascript:alert(1)'>y</a> ![z](data:text/html,x)"
    task = await made(api, title=title, notes=notes, labels=[title[:50]])
    async with api.post("/lists", json={"name": title}) as answer:
        assert answer.status == 201
    await person.opens(f"/all?task={task['id']}")
    await expect(page.locator(".detail .title-in")).to_have_value(title)
    await expect(page.locator(".detail .markdown")).to_contain_text("x")
    for href in await page.locator(".detail .markdown a").evaluate_all("all => all.map(one => one.protocol)"):
        assert href in {"http:", "https:"}
    assert await page.locator("main img, .detail img, main script, .detail script").count() == 0
