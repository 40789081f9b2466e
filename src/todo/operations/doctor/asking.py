"""What one replica and its sidecar say over HTTP, each question with a deadline of its own."""

import asyncio
import datetime as dt
import email.utils
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from todo.contracts import names
from todo.contracts.clock import Clock
from todo.contracts.mail import CHECK_MAIL, MailCheck
from todo.operations.doctor.seen import Outbox, Reading, Series, Service, Sidecar

ANSWERS_IN: Final = aiohttp.ClientTimeout(total=5, sock_connect=3)
MAIL_ANSWERS_IN: Final = aiohttp.ClientTimeout(total=20)  # a connection to the mail server takes up to 15 s
JOBS: Final = {
    names.BACKEND.app_id: (names.RECONCILE_SERIES,),
    names.NOTIFICATION.app_id: (names.CHECK_DUE_TASKS, names.RECONCILE_REMINDERS, names.RECONCILE_TASKS),
}
DATE_BLUR: Final = 0.5  # an HTTP date has no fractions: it is taken for the middle of its second
UNAUTHORIZED: Final = 401

_INGRESS: Final = "dapr_component_pubsub_ingress"
_ENDS: Final = {
    ("todo_deliveries_total", "put_off"): "were answered with 503, says the service",
    ("todo_deliveries_total", "failed"): "ended with an error, says the service",
    (f"{_INGRESS}_count", "retry"): "were to be tried again, says the sidecar",
    (f"{_INGRESS}_count", "drop"): "were dropped, says the sidecar",
    (f"{_INGRESS}_bulk_event_count", "retry"): "were to be tried again, says the sidecar",
    (f"{_INGRESS}_bulk_event_count", "drop"): "were dropped, says the sidecar",
}
_AWAY: Final = (aiohttp.ClientError, TimeoutError, OSError)


class NoAnswerError(Exception):
    """Nobody answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    clock: Reading | None

    def decoded(self) -> Any:  # noqa: ANN401 - whatever JSON it is
        """The JSON in it. Raises `NoAnswerError` for what is none."""
        try:
            return msgspec.json.decode(self.body or b"null")
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswerError(f"what answers there is something else ({self.status})") from None


class Asking:
    """Questions of one look. Every method raises `NoAnswerError` or tells in its answer what is away."""

    def __init__(self, http: aiohttp.ClientSession, token: str | None, clock: Clock) -> None:
        self._http = http
        self._headers = {"dapr-api-token": token} if token else {}
        self._clock = clock

    async def service(self, url: str) -> Service:
        """Whether a replica is ready, by itself."""
        try:
            answer = await self._ask("GET", f"{url}/readyz")
            failed = answer.decoded().get("failed", {})
        except (NoAnswerError, AttributeError) as error:
            return Service(away=str(error))
        return Service(failed={str(name): str(reason) for name, reason in failed.items()}, clock=answer.clock)

    async def sidecar(self, url: str, app_id: str) -> Sidecar:
        """What a sidecar has loaded, subscribed to and registered."""
        try:
            health, metadata = await asyncio.gather(
                self._ask("GET", f"{url}/v1.0/healthz"), self._ask("GET", f"{url}/v1.0/metadata", self._headers)
            )
        except NoAnswerError as error:
            return Sidecar(away=str(error))
        if metadata.status == UNAUTHORIZED:
            return Sidecar(waits=_waits(health), refused_token=True)
        jobs = await asyncio.gather(*(self._job(url, name) for name in JOBS.get(app_id, ())))
        try:
            loaded = metadata.decoded()
        except NoAnswerError as error:
            return Sidecar(away=str(error))
        return Sidecar(waits=_waits(health), metadata=loaded, jobs=dict(jobs))

    async def metrics(self, url: str) -> Mapping[Series, float]:
        """Every sample at `url`."""
        answer = await self._ask("GET", url)
        try:
            return {
                (one.name, frozenset(one.labels.items())): one.value
                for family in text_string_to_metric_families(answer.body.decode())
                for one in family.samples
            }
        except ValueError:
            raise NoAnswerError(f"what answers at {url} has no metrics") from None

    async def mail(self, sidecar_url: str) -> MailCheck:
        """Have email-delivery try its mail server, asked through its own sidecar."""
        url = f"{sidecar_url}/v1.0/invoke/{names.EMAIL_DELIVERY.app_id}/method/{CHECK_MAIL}"
        answer = await self._ask("POST", url, self._headers, MAIL_ANSWERS_IN)
        try:
            return msgspec.json.decode(answer.body, type=MailCheck)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswerError(f"email-delivery did not answer as expected ({answer.status})") from None

    async def _job(self, url: str, name: str) -> tuple[str, str | None]:
        try:
            answer = await self._ask("GET", f"{url}/v1.0/jobs/{name}", self._headers)
            told = answer.decoded()
        except NoAnswerError:
            return name, None
        return name, str(told.get("schedule", "")) if answer.status == 200 else None  # noqa: PLR2004 - HTTP

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = ANSWERS_IN,  # noqa: ASYNC109 - aiohttp's own
    ) -> Answer:
        asked, began = self._clock(), time.monotonic()
        try:
            async with self._http.request(method, url, headers=headers or {}, timeout=timeout) as response:
                took = time.monotonic() - began
                return Answer(response.status, await response.read(), _reading(response, asked, took))
        except TimeoutError:
            raise NoAnswerError(f"{url} did not answer within {timeout.total:.0f} s") from None
        except aiohttp.ClientConnectorError as error:
            raise NoAnswerError(f"nothing listens at {url} ({error.os_error.strerror or error.os_error})") from error
        except _AWAY as error:
            raise NoAnswerError(f"{url}: the connection failed ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class Scraped:
    """The metrics of one replica: its service's and its sidecar's. None: they were not to be had."""

    name: str
    app_id: str
    service: Mapping[Series, float] | None
    sidecar: Mapping[Series, float] | None


def refused(scraped: Iterable[Scraped]) -> dict[str, dict[tuple[str, str, str], float]]:
    """Deliveries that did not go well, ever, by app id, topic and how they ended; of each that told its metrics."""
    return {
        f"{one.name}/{whose}": _refused(one.app_id, told)
        for one in scraped
        for whose, told in (("service", one.service), ("sidecar", one.sidecar))
        if told is not None
    }


def _refused(app_id: str, samples: Mapping[Series, float]) -> dict[tuple[str, str, str], float]:
    found: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for (name, labels), value in samples.items():
        told = dict(labels)
        ended = _ENDS.get((name, told.get("answer") or told.get("process_status", "")))
        if ended and value:
            found[app_id, told.get("topic", ""), ended] += value
    return found


def outboxes(scraped: Iterable[Scraped]) -> dict[str, Outbox]:
    """The outboxes as the replicas that lead say of them, by app id."""
    found = {}
    for app_id, service in ((one.app_id, one.service or {}) for one in scraped):
        told = {name: value for (name, _), value in service.items()}
        if told.get("todo_relay_leading"):
            depth, oldest = told.get("todo_outbox_depth", 0.0), told.get("todo_outbox_oldest_seconds", 0.0)
            found[app_id] = Outbox(int(depth), oldest)
    return found


def _waits(health: Answer) -> str:
    """What a sidecar that is not ready says of itself."""
    if health.status < 300:  # noqa: PLR2004 - HTTP
        return ""
    try:
        told = health.decoded()
    except NoAnswerError:
        told = None
    return str(told.get("message", "")) if isinstance(told, dict) else f"it answers {health.status}"


def _reading(response: aiohttp.ClientResponse, asked: dt.datetime, took: float) -> Reading | None:
    """How the answer's date compares with our clock in the middle of the question."""
    try:
        told = email.utils.parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    middle = asked + dt.timedelta(seconds=took / 2)
    return Reading((told - middle).total_seconds() + DATE_BLUR, took / 2 + DATE_BLUR)
