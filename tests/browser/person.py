"""What a person does at the page, in their words. They find things as people do: by name and role, not by structure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from playwright.async_api import Locator, Page, expect


@dataclass(frozen=True)
class Person:
    """Somebody with the page open."""

    page: Page
    url: str

    async def opens(self, place: str) -> None:
        """Load a page, and wait until it follows the server."""
        await self.page.goto(f"{self.url}/#{place}")
        await self.is_live()

    async def is_live(self) -> None:
        await expect(self.page.locator("html")).to_have_attribute("data-live", "yes")

    async def goes(self, name: str) -> None:
        """Follow a way of the sidebar."""
        await self.page.get_by_role("navigation").get_by_role("link", name=re.compile(rf"^{re.escape(name)}\b")).click()

    async def writes(self, line: str) -> Locator:
        """Begin to add a task; the line is read and not saved yet."""
        await self.page.locator("body").press("q")
        dialog = self.page.get_by_role("dialog", name="Add a task")
        await dialog.get_by_label("What is to be done").fill(line)
        return dialog

    async def adds(self, line: str) -> None:
        dialog = await self.writes(line)
        await dialog.get_by_label("What is to be done").press("Enter")
        await expect(dialog).to_have_count(0)

    def row(self, title: str) -> Locator:
        """The row of a task on this page."""
        return self.page.locator(".row", has=self.page.get_by_text(title, exact=True))

    async def sees(self, *titles: str) -> None:
        for title in titles:
            await expect(self.row(title)).to_be_visible()

    async def sees_no(self, *titles: str) -> None:
        for title in titles:
            await expect(self.row(title)).to_have_count(0)

    async def sees_in_order(self, titles: Sequence[str]) -> None:
        await expect(self.page.locator(".row .title")).to_have_text(list(titles))

    async def completes(self, title: str) -> None:
        await self.row(title).get_by_role("checkbox").click()

    async def shows(self, title: str) -> Locator:
        """Open a task beside the page."""
        await self.row(title).locator(".title").click()
        return self.page.locator(".detail")

    async def is_told(self, text: str | re.Pattern[str]) -> Locator:
        """The note at the foot of the page that says so."""
        toast = self.page.locator(".toast", has_text=text).last
        await expect(toast).to_be_visible()
        return toast

    async def saved_all(self) -> None:
        """Nothing waits for the server any more."""
        await expect(self.page.locator("html")).to_have_attribute("data-waiting", "0")
