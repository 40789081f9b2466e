import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from tests.support.children import until
from todo.mailbox.smtp import SmtpSink
from todo.mailbox.store import MessageStore
from todo.operations import ports
from todo.operations.supervisor import http_probe

SENDER = "todo@example.org"


@dataclass
class Mailbox:
    process: asyncio.subprocess.Process
    smtp_port: int
    http: aiohttp.ClientSession

    async def send(self, message: EmailMessage, recipients: Sequence[str] = ("you@example.org",)) -> str:
        _, answer = await aiosmtplib.send(
            message, sender=SENDER, recipients=list(recipients), hostname="127.0.0.1", port=self.smtp_port
        )
        return answer

    async def get(self, path: str, status: int = 200) -> Any:  # noqa: ANN401 - JSON
        async with self.http.get(path) as response:
            assert response.status == status
            return await response.json()

    async def page(self, path: str) -> tuple[str, str]:
        async with self.http.get(path) as response:
            assert response.status == 200
            return await response.text(), response.headers["Content-Security-Policy"]


@asynccontextmanager
async def mailbox_on(folder: Path, **env: str) -> AsyncIterator[Mailbox]:
    smtp_port, http_port = ports.free(2)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "todo.mailbox"),
        env={**os.environ, "MAILBOX_DATA": str(folder), **env}
        | {"MAILBOX_SMTP_PORT": str(smtp_port), "MAILBOX_HTTP_PORT": str(http_port)},
    )
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession(f"http://127.0.0.1:{http_port}") as http:
            ready = http_probe(http_port, "/readyz")
            while not await _holds(ready(process.pid)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
            yield Mailbox(process, smtp_port, http)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _holds(answer: Any) -> bool:  # noqa: ANN401 - the probe's awaitable
    try:
        return bool(await answer)
    except OSError:
        return False


@pytest.fixture
async def mailbox(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with mailbox_on(tmp_path) as running:
        yield running


def mail(subject: str = "Water the plants", html: str | None = None, **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Todo <{SENDER}>"
    message["To"] = "Grün <you@example.org>"
    message["Subject"] = subject
    for name, value in ({"Message-ID": "<one@todo>"} | {k.replace("_", "-"): v for k, v in headers.items()}).items():
        message[name] = value
    message.set_content("It is time to water the plants.\n.\n..two dots\näöü\n")
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


async def test_a_mail_comes_back_whole_in_the_json_of_mailpit(mailbox: Mailbox) -> None:
    await mailbox.send(mail("Blumen gießen", html="<p>Zeit</p>"), ["you@example.org", "hidden@example.org"])
    listing = await mailbox.get("/api/v1/messages")
    assert {key: listing[key] for key in listing if key != "messages"} == {
        "total": 1,
        "unread": 1,
        "count": 1,
        "messages_count": 1,
        "messages_unread": 1,
        "start": 0,
        "tags": [],
    }
    [summary] = listing["messages"]
    message_id, created, size = summary.pop("ID"), summary.pop("Created"), summary.pop("Size")
    assert created.endswith("Z")
    assert size > 100
    assert summary == {
        "MessageID": "one@todo",
        "Read": False,
        "From": {"Name": "Todo", "Address": SENDER},
        "To": [{"Name": "Grün", "Address": "you@example.org"}],
        "Cc": [],
        "Bcc": [{"Name": "", "Address": "hidden@example.org"}],
        "ReplyTo": [],
        "Subject": "Blumen gießen",
        "Username": "",
        "Tags": [],
        "Attachments": 0,
        "Snippet": "It is time to water the plants. . ..two dots äöü",
    }
    whole = await mailbox.get(f"/api/v1/message/{message_id}")
    assert whole["Text"].splitlines() == ["It is time to water the plants.", ".", "..two dots", "äöü"]
    assert whole["HTML"].strip() == "<p>Zeit</p>"
    assert whole["ReturnPath"] == SENDER
    assert await mailbox.get("/api/v1/message/latest") == whole
    assert (await mailbox.get("/api/v1/messages"))["unread"] == 0
    async with mailbox.http.get(f"/api/v1/message/{message_id}/raw") as raw:
        assert b"\r\nMessage-ID: <one@todo>\r\n" in await raw.read()


async def test_pages_searches_and_deletions(mailbox: Mailbox) -> None:
    for number in range(5):
        await mailbox.send(mail(f"Task {number}", Message_ID=f"<{number}@todo>"))
    page = await mailbox.get("/api/v1/messages?start=1&limit=2")
    assert [one["Subject"] for one in page["messages"]] == ["Task 3", "Task 2"]
    assert (page["total"], page["count"], page["start"]) == (5, 2, 1)
    found = await mailbox.get("/api/v1/search?query=subject:%22task%202%22 to:you@example.org plants")
    assert [one["MessageID"] for one in found["messages"]] == ["2@todo"]
    assert (found["messages_count"], found["total"]) == (1, 5)
    assert (await mailbox.get("/api/v1/search?query=message-id:nobody"))["messages"] == []
    async with mailbox.http.delete("/api/v1/messages", json={"IDs": [found["messages"][0]["ID"]]}) as response:
        assert await response.text() == "ok"
    assert (await mailbox.get("/api/v1/messages"))["total"] == 4
    async with mailbox.http.delete("/api/v1/messages"):
        pass
    assert (await mailbox.get("/api/v1/messages"))["total"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/message/nowhere", 404),
        ("/api/v1/messages?start=-1", 400),
        ("/api/v1/messages?limit=many", 400),
        ("/api/v1/search", 400),
    ],
)
async def test_what_cannot_be_answered_says_so_in_json(mailbox: Mailbox, path: str, status: int) -> None:
    assert (await mailbox.get(path, status))["Error"]


async def test_the_pages_show_the_mail_and_run_nothing_of_it(mailbox: Mailbox) -> None:
    await mailbox.send(mail("<script>alert(1)</script>", html="<script>alert(2)</script><b>soon</b>"))
    listing, policy = await mailbox.page("/")
    assert "&lt;script&gt;alert(1)" in listing
    assert "<script" not in listing
    assert policy.startswith("default-src 'none'; style-src 'self'")
    [summary] = (await mailbox.get("/api/v1/messages"))["messages"]
    page, _ = await mailbox.page(f"/message/{summary['ID']}")
    assert f'<iframe sandbox="allow-popups" title="The message as HTML" src="/message/{summary["ID"]}/html">' in page
    html, policy = await mailbox.page(f"/message/{summary['ID']}/html")
    assert "<b>soon</b>" in html
    assert policy.startswith("sandbox allow-popups; default-src 'none'")
    async with mailbox.http.get("/style.css") as style:
        assert style.content_type == "text/css"


async def test_only_the_own_page_deletes_and_only_under_loopbacks_names(mailbox: Mailbox) -> None:
    await mailbox.send(mail())
    async with mailbox.http.post("/", headers={"Sec-Fetch-Site": "cross-site"}) as response:
        assert response.status == 403
    async with mailbox.http.get("/api/v1/messages", headers={"Host": "evil.example.org"}) as response:
        assert response.status == 400
    assert (await mailbox.get("/api/v1/messages"))["total"] == 1
    async with mailbox.http.post("/", headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False) as response:
        assert response.status == 303
    assert (await mailbox.get("/api/v1/messages"))["total"] == 0


async def test_a_refused_recipient_gets_550_and_no_mail_is_kept(mailbox: Mailbox) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await mailbox.send(mail(), ["refused@example.org"])
    assert refused.value.recipients[0].code == 550
    assert (await mailbox.get("/api/v1/messages"))["total"] == 0


async def test_a_greylisted_recipient_gets_451_once(mailbox: Mailbox) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await mailbox.send(mail(), ["greylist+a@example.org"])
    assert refused.value.recipients[0].code == 451
    await mailbox.send(mail(), ["greylist+a@example.org"])
    assert (await mailbox.get("/api/v1/messages"))["total"] == 1


async def test_a_connection_dropped_after_data_has_kept_the_mail_without_saying_so(mailbox: Mailbox) -> None:
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await mailbox.send(mail(), ["drop-after-data@example.org"])
    assert (await mailbox.get("/api/v1/messages"))["total"] == 1


async def test_every_mail_that_was_answered_with_250_survives_kill_9(tmp_path: Path) -> None:
    answered: list[str] = []

    async def send_for_ever(mailbox: Mailbox, lane: int) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.smtp_port)
        await client.connect()
        for number in range(10_000):
            message = mail(Message_ID=f"<{lane}-{number}@todo>")
            await client.sendmail(SENDER, ["you@example.org"], message.as_bytes())
            answered.append(f"{lane}-{number}@todo")

    async with mailbox_on(tmp_path) as mailbox:
        lanes = [asyncio.create_task(send_for_ever(mailbox, lane)) for lane in range(4)]
        await until(lambda: len(answered) >= 50)
        mailbox.process.kill()
        await asyncio.gather(*lanes, return_exceptions=True)
    async with mailbox_on(tmp_path) as mailbox:
        kept = {one["MessageID"] for one in (await mailbox.get("/api/v1/messages?limit=10000"))["messages"]}
    assert set(answered) <= kept


async def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    async with mailbox_on(tmp_path, MAILBOX_KEEP="3") as mailbox:
        for number in range(5):
            await mailbox.send(mail(f"Task {number}"))
        listing = await mailbox.get("/api/v1/messages")
        assert [one["Subject"] for one in listing["messages"]] == ["Task 4", "Task 3", "Task 2"]


class Dialogue:
    """SMTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, text: str, *codes: int) -> None:
        self._writer.write(text.encode())
        for code in codes:
            line = await self._reader.readline()
            while line[3:4] == b"-":
                line = await self._reader.readline()
            assert int(line[:3]) == code, line

    async def ended(self) -> bool:
        return await self._reader.read() == b""


@asynccontextmanager
async def dialogue(store: MessageStore) -> AsyncIterator[Dialogue]:
    sink = SmtpSink(store)
    await sink.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    try:
        yield Dialogue(reader, writer)
    finally:
        writer.close()
        await sink.close()


@pytest.fixture
def store(tmp_path: Path) -> Any:  # noqa: ANN401 - a generator of one
    kept = MessageStore(tmp_path, keep=100)
    yield kept
    kept.close()


async def test_pipelined_commands_are_answered_in_order_and_dots_are_unstuffed(store: MessageStore) -> None:
    async with dialogue(store) as smtp:
        await smtp.say("EHLO me\r\n", 220, 250)
        envelope = f"MAIL FROM:<{SENDER}> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"
        await smtp.say(f"{envelope}.leading\r\n..\r\n...x\r\n.\r\nRSET\r\nQUIT\r\n", 250, 250, 354, 250, 250, 221)
    [one] = store.newest()
    assert one.raw == b".leading\r\n.\r\n..x\r\n"
    assert (one.sender, one.recipients) == (SENDER, ("a@example.org",))


async def test_an_empty_message_ends_with_its_dot(store: MessageStore) -> None:
    async with dialogue(store) as smtp:
        await smtp.say("MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n.\r\n", 220, 250, 250, 354, 250)
    assert [one.raw for one in store.newest()] == [b""]


async def test_a_bare_newline_around_a_dot_does_not_end_a_message(store: MessageStore) -> None:
    async with dialogue(store) as smtp:
        body = "one\n.\nMAIL FROM:<smuggled@example.org>\r\n"
        await smtp.say(f"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n{body}.\r\n", 220, 250, 250, 354, 250)
    assert [one.raw for one in store.newest()] == [body.encode()]


async def test_a_slow_answer_comes_after_the_mail_was_kept(store: MessageStore) -> None:
    async with dialogue(store) as smtp:
        await smtp.say("MAIL FROM:<>\r\nRCPT TO:<slow+60@example.org>\r\nDATA\r\n.\r\n", 220, 250, 250, 354)
        await until(lambda: store.counts()[0] == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await smtp.say("", 250)


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ("DATA\r\n", [503]),
        ("RCPT TO:<a@example.org>\r\n", [503]),
        ("MAIL FROM:nobody\r\n", [501]),
        ("MAIL FROM:<a@b> SIZE=99999999999\r\n", [552]),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<>\r\n", [250, 501]),
        ("STARTTLS\r\n", [502]),
        ("NOOP\r\nVRFY you\r\n", [250, 252]),
    ],
)
async def test_what_is_out_of_order_or_unknown_is_refused_and_the_session_goes_on(
    store: MessageStore, said: str, codes: list[int]
) -> None:
    async with dialogue(store) as smtp:
        await smtp.say(said, 220, *codes)
        await smtp.say("RSET\r\n", 250)


async def test_an_endless_command_ends_the_connection(store: MessageStore) -> None:
    async with dialogue(store) as smtp:
        await smtp.say("X" * 10_000, 220, 552)
        assert await smtp.ended()


async def test_a_message_that_cannot_be_stored_is_refused_for_now(
    store: MessageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> str:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "add", full)
    async with dialogue(store) as smtp:
        await smtp.say("MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n.\r\nNOOP\r\n", 220, 250, 250, 354, 452, 250)


async def test_a_failing_commit_fails_every_message_of_its_group_and_the_writer_goes_on(store: MessageStore) -> None:
    store._writing.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'full'); END")
    results = await asyncio.gather(*(store.add(SENDER, ["a@b"], b"x") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, sqlite3.Error) for result in results)
    store._writing.execute("DROP TRIGGER full")
    assert await store.add(SENDER, ["a@b"], b"x") == store.newest()[0].id
    assert store.counts() == (1, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no headers at all",
        b"Subject: =?no-such-charset?q?x?=\r\nContent-Type: text/plain; charset=no-such\r\n\r\n\xff\xfe",
        b"From: \xff\xfe <<<>>>\r\nTo: ,,;;\r\nDate: yesterday\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative\r\n\r\n",
    ],
)
async def test_any_bytes_can_be_listed_and_shown(mailbox: Mailbox, raw: bytes) -> None:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.smtp_port)
    await client.connect()
    await client.sendmail(SENDER, ["you@example.org"], raw)
    await client.quit()
    [summary] = (await mailbox.get("/api/v1/messages"))["messages"]
    await mailbox.get(f"/api/v1/message/{summary['ID']}")
    await mailbox.page("/")
    await mailbox.page(f"/message/{summary['ID']}")
    await mailbox.get("/api/v1/search?query=x")
