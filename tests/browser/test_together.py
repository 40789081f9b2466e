"""Two tabs, a phone and a script on the same tasks; and a page without its server."""

from typing import Final

import aiohttp
from playwright.async_api import BrowserContext, Route, expect

from tests.browser.person import Person
from todo.operations.system import System

BACKEND = "backend"


# Taking a change out of the queue takes a while, so that others are begun meanwhile.
SLOW_TO_FORGET: Final = """
const forget = IDBObjectStore.prototype.delete;
IDBObjectStore.prototype.delete = function (key) {
    for (let turn = 0; turn < 1000; turn += 1) this.count();
    return forget.call(this, key);
};
"""


async def made(api: aiohttp.ClientSession, **task: object) -> dict[str, object]:
    async with api.post("/tasks", json=task) as answer:
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


async def titles(api: aiohttp.ClientSession, **query: str) -> list[str]:
    async with api.get("/tasks", params={"status": "all"} | query) as answer:
        return [one["title"] for one in (await answer.json())["tasks"]]


async def test_two_tabs_and_a_script_stay_equal(
    person: Person, context: BrowserContext, api: aiohttp.ClientSession
) -> None:
    other = Person(await context.new_page(), person.url)
    await person.opens("/all")
    await other.opens("/all")
    await person.adds("Written in one tab")
    await other.sees("Written in one tab")
    await made(api, title="Written by a script")
    await person.sees("Written by a script")
    await other.sees("Written by a script")
    await other.completes("Written in one tab")
    await person.sees_no("Written in one tab")


async def test_without_the_server_reading_adding_and_completing_go_on(
    person: Person, system: System, api: aiohttp.ClientSession
) -> None:
    """What was done waits, over a reload of the page too, and happens once when the server is back."""
    await made(api, title="Known before")
    await person.opens("/all")
    await person.sees("Known before")
    await person.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    await system.stop(BACKEND)
    try:
        await expect(person.page.locator(".banner")).to_contain_text("Offline")
        await person.adds("Thought of on the train")
        await person.sees("Thought of on the train")
        await person.completes("Known before")
        await person.sees_no("Known before")
        await expect(person.page.locator(".banner")).to_contain_text("2 changes wait")
        await person.page.reload()
        await person.sees("Thought of on the train")
        await person.sees_no("Known before")
    finally:
        await system.start(BACKEND)
    await person.is_live()
    await person.saved_all()
    assert await titles(api, q="train") == ["Thought of on the train"]
    async with api.get("/tasks", params={"status": "done", "q": "known"}) as answer:
        assert len((await answer.json())["tasks"]) == 1


async def test_a_server_that_dies_while_somebody_types_loses_nothing(
    person: Person, system: System, api: aiohttp.ClientSession
) -> None:
    dialog = await person.writes("call Ada tomor")
    await system.kill(BACKEND)
    await dialog.get_by_label("What is to be done").press_sequentially("row")
    await dialog.get_by_label("What is to be done").press("Enter")
    await person.saved_all()
    await person.is_live()
    async with api.get("/tasks", params={"q": "ada"}) as answer:
        (task,) = (await answer.json())["tasks"]
    assert (task["title"], task["due_date"] is not None) == ("call Ada", True)


async def test_a_lost_answer_makes_nothing_twice(person: Person, api: aiohttp.ClientSession) -> None:
    """The server made the task, and the connection broke before it could say so."""
    lost: list[int] = []

    async def lose_the_first(route: Route) -> None:
        if route.request.method != "POST" or lost:
            await route.continue_()
            return
        answer = await route.fetch()
        lost.append(answer.status)
        await route.abort()

    await person.page.route("**/tasks", lose_the_first)
    await person.opens("/all")
    await person.adds("Made only once")
    await person.saved_all()
    assert lost == [201]
    assert await titles(api, q="only once") == ["Made only once"]


async def test_changes_that_follow_quickly_are_not_in_each_others_way(
    person: Person, api: aiohttp.ClientSession
) -> None:
    """Each is based on what came of the one before, although it was begun before that was answered."""
    task = await made(api, title="Not so important")
    await person.page.add_init_script(SLOW_TO_FORGET)
    await person.page.reload()
    await person.opens("/search/important")
    await person.sees("Not so important")
    await person.page.locator("body").focus()
    await person.page.get_by_role("heading", level=1).click()
    for key in "123412341234123412341231":
        await person.page.keyboard.press(key, delay=25)  # ms
    await person.saved_all()
    await expect(person.page.get_by_role("alert")).to_have_count(0)
    async with api.get(f"/tasks/{task['id']}") as answer:
        assert (await answer.json())["priority"] == 1


async def test_a_line_that_was_not_added_is_there_after_a_reload(person: Person) -> None:
    await person.writes("half a thought")
    await person.page.reload()
    await person.is_live()
    await person.page.locator("body").press("q")
    await expect(person.page.get_by_label("What is to be done")).to_have_value("half a thought")
    await person.page.get_by_label("What is to be done").fill("")


async def test_what_others_changed_meanwhile_is_never_written_over(
    person: Person, context: BrowserContext, api: aiohttp.ClientSession
) -> None:
    """It is shown, and the person decides."""
    task = await made(api, title="Shared plan")
    await person.opens("/all")
    detail = await person.shows("Shared plan")
    await context.set_offline(offline=True)
    await detail.get_by_label("Title").fill("My plan")
    await detail.get_by_label("Title").press("Enter")
    async with api.patch(f"/tasks/{task['id']}", json={"title": "Their plan"}, headers={"if-match": "*"}) as answer:
        assert answer.status == 200
    await context.set_offline(offline=False)
    banner = person.page.get_by_role("alert")
    await expect(banner).to_contain_text("1 change was not taken")
    assert await titles(api, q="plan") == ["Their plan"]
    await banner.get_by_role("button", name="More").click()
    dialog = person.page.get_by_role("dialog", name="What the server did not take")
    await expect(dialog).to_contain_text("It is now: Their plan")
    await dialog.get_by_role("button", name="Do it all the same").click()
    await person.saved_all()
    await expect(person.row("My plan")).to_be_visible()
    assert await titles(api, q="plan") == ["My plan"]


async def test_the_page_opens_without_the_server(person: Person, context: BrowserContext, system: System) -> None:
    """Everything it is made of is kept, not only what the last page needed."""
    await person.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    assert await person.page.evaluate("caches.open('app').then(app => app.keys()).then(all => all.length)") > 20
    await system.stop(BACKEND)
    try:
        page = await context.new_page()
        await page.goto(f"{person.url}/#/today")
        await expect(page.get_by_role("heading", name="Today", level=1)).to_be_visible()
    finally:
        await system.start(BACKEND)


async def test_a_restored_database_is_read_anew(person: Person, context: BrowserContext) -> None:
    """A cursor that the server does not know begins again with all there is, and doubles nothing."""
    await person.page.evaluate(
        """() => new Promise((done, failed) => {
            const opening = indexedDB.open("todo-1");
            opening.onsuccess = () => {
                const change = opening.result.transaction("meta", "readwrite");
                change.objectStore("meta").put("WzksNiw4MTQsMCxudWxsLGZhbHNlXQ", "cursor");
                change.oncomplete = () => done(null);
                change.onerror = () => failed(change.error);
            };
        })"""
    )
    other = Person(await context.new_page(), person.url)
    await other.opens("/all")
    await other.sees("Written by a script")
    await expect(other.row("Written by a script")).to_have_count(1)
