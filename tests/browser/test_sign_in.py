"""Signing in under TODO_AUTH=required, as a person does it; and that nothing of one person is shown to another."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.person import Person
from tests.integration.backend.browsers import PASSWORD, Account, account
from tests.integration.backend.callers import Guarded, guarded_backend
from tests.support.provider import CLIENT, CLIENT_SECRET
from todo.backend.auth.scopes import OWN_TASKS
from todo.operations.access import access
from todo.operations.postgres import PostgresServer


@pytest.fixture(scope="module")
def guarded(pg_server: PostgresServer) -> Iterator[Guarded]:
    """backend, which wants to know its callers, with an identity provider beside it."""
    client = {"TODO_OIDC_CLIENT_ID": CLIENT, "TODO_OIDC_CLIENT_SECRET": CLIENT_SECRET}
    with guarded_backend(pg_server, **client) as running:
        yield running


@pytest.fixture(scope="module")
def url(guarded: Guarded) -> str:
    return guarded.base


@pytest.fixture
async def ada(guarded: Guarded) -> Account:
    return await account(guarded)


async def _sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_somebody_signs_in_works_and_signs_out(
    context: BrowserContext, page: Page, url: str, ada: Account
) -> None:
    person = Person(page, url)
    await page.goto(f"{url}/#/today")
    await _sign_in(page, ada.email, "not her password")
    await expect(page.get_by_role("alert")).to_have_text("Address or password is wrong.")
    await _sign_in(page, ada.email)
    await person.is_live()
    await person.adds("Ada's secret")
    await person.saved_all()
    (cookie,) = await context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    await person.opens("/settings")
    await expect(page.locator(".sessions")).to_contain_text("this one")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await page.evaluate("indexedDB.databases().then(all => all.length)") == 0


async def test_a_session_that_ended_elsewhere_asks_again_and_shows_nothing_to_the_next(
    page: Page, url: str, ada: Account, guarded: Guarded
) -> None:
    ben = await account(guarded)
    person = Person(page, url)
    await page.goto(f"{url}/#/all")
    await _sign_in(page, ada.email)
    await person.is_live()
    await person.adds("Only for Ada")
    await person.saved_all()
    async with access(guarded.url) as opened:
        (session,) = await opened.sessions(ada.user_id)
        await opened.end_session(session.id)
    await page.reload()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_text("Only for Ada")).to_have_count(0)
    await _sign_in(page, ben.email)
    await person.is_live()
    await person.opens("/all")
    await expect(page.get_by_text("Only for Ada")).to_have_count(0)
    await expect(page.locator(".welcome")).to_be_visible()


async def test_another_site_cannot_act_with_the_cookie(browser: Browser, url: str, ada: Account) -> None:
    """A page of another origin posts a form; the browser sends the cookie or not, and nothing changes."""
    context = await browser.new_context(locale="en-GB")
    page = await context.new_page()
    person = Person(page, url)
    await page.goto(f"{url}/#/all")
    await _sign_in(page, ada.email)
    await person.is_live()
    await context.route("http://elsewhere.test/**", lambda route: route.fulfill(body="<p>hello</p>"))
    other = await context.new_page()
    await other.goto("http://elsewhere.test/")
    forged = "({method: 'POST', credentials: 'include', mode: 'no-cors', body: JSON.stringify({title: 'forged'})})"
    sent = f"url => fetch(url, {forged}).then(response => response.type, () => 'refused')"
    answer = await other.evaluate(sent, f"{url}/tasks")
    assert answer in {"opaque", "refused"}
    await person.opens("/all")
    await expect(page.get_by_text("forged")).to_have_count(0)
    await context.close()


async def test_somebody_comes_by_the_identity_provider(page: Page, url: str, guarded: Guarded) -> None:
    """There and back by the code flow; and if they come back without, they are told."""
    user_id = await guarded.user()
    guarded.identity.person = {"sub": "cleo"}
    person = Person(page, url)
    await page.goto(f"{url}/#/today")
    await page.get_by_role("link", name="Sign in with your provider").click()
    await expect(page.get_by_role("alert")).to_contain_text("no-account")
    async with access(guarded.url) as opened:
        await opened.link(user_id, guarded.identity.issuer, "cleo", OWN_TASKS)
    await page.get_by_role("link", name="Sign in with your provider").click()
    await person.is_live()
    await person.adds("Cleo was here")
    await person.saved_all()
    await person.opens("/all")
    await person.sees("Cleo was here")
