"""Calls of Dapr's API, generated: sensible ones, odd ones and wrong ones, the same for the same seed."""

import base64
import functools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from tests.sidecars.world import BUS, ENVIRONMENT, STORE, VAULT

SINGLE, BULK, RAW, DEAD = "calls.single", "calls.bulk", "calls.raw", "calls.dead"
KEYS: Final = ("a", "b", "c", "d e", "ü", "x/y", "A")
CURRENT, STALE = "<current>", "<stale>"  # ETags that only the one who sends the call knows

JSON: Final = {"Content-Type": "application/json"}
_TEXTS: Final = (
    "",
    "a",
    "two words",
    "ü€😀",
    "\u0000\u001f",
    "<b>&amp;</b>",
    "line\nbreak\ttab",
    '"quoted"\\',
    "a" * 3000,
)
_NUMBERS: Final = (0, -1, 7, 2**31, 2**53, 2**63 - 1, 12345678901234567890, 0.5, -1.25e-7, 1e21, 1.5e300)
_BROKEN: Final = (
    *(b"", b" ", b"{", b"{not json", b"[1,", b'{"a":1} and more', b"nul", b"\xff\xfe", b'"\xe2\x82"', b'"\\ud800"'),
    *(b"01", b"1e400", b"NaN", b"{'a':1}", b'{"a":1,}', b"[1] [2]", b"\xef\xbb\xbf{}"),
)
_CONTENT_TYPES: Final = (
    *(None, "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", "text/html"),
    *("application/octet-stream", "application/xml", "application/vnd.x+json", "image/png", "nonsense", ""),
)


@dataclass(frozen=True)
class Call:
    """One request; `etag` is sent as `If-Match` or in the body, as `CURRENT` and `STALE` ask for."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        body = None if self.body is None else self.body[:400]
        return f"{self.method} {self.path} {dict(self.query) or ''} {dict(self.headers) or ''} {body!r}"


Dice = random.Random
Generator = Callable[[Dice], Call]


def calls(generator: Generator, seed: int, count: int) -> Iterator[Call]:
    """`count` calls of this kind."""
    dice = random.Random(seed)  # noqa: S311 - reproducible on purpose
    return (generator(dice) for _ in range(count))


def value(dice: Dice, depth: int = 3) -> Any:  # noqa: ANN401 - JSON
    """Any JSON value."""
    kind = dice.randrange(8 if depth else 5)
    if kind == 0:
        return dice.choice((None, True, False))
    if kind == 1:
        return dice.choice(_NUMBERS)
    if kind < 5:
        return dice.choice(_TEXTS)
    if kind == 5:
        return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(_TEXTS)[:20]: value(dice, depth - 1) for _ in range(dice.randrange(4))}


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _mostly(dice: Dice, usual: Callable[[], Any], *odd: object, chance: float = 0.15) -> Any:  # noqa: ANN401 - a field
    """The usual value, and now and then an odd one."""
    return dice.choice(odd) if dice.random() < chance else usual()


def _fields(dice: Dice, fields: Mapping[str, Any], *, lose: float = 0.05, twist: float = 0.05) -> dict[str, Any]:
    """An object that now and then lacks a field, has one of a wrong type, in another case, or one too many."""
    found: dict[str, Any] = {}
    for name, content in fields.items():
        luck = dice.random()
        if luck < lose:
            continue
        wrong = dice.choice((None, 1, "x", [], {}, True)) if luck < lose + twist else content
        found[name.upper() if dice.random() < twist / 2 else name] = wrong
    return found | ({"more": 1} if dice.random() < twist else {})


def _body(dice: Dice, usual: Callable[[], Any]) -> bytes:
    """The usual body as JSON, and now and then another shape or no JSON."""
    luck = dice.random()
    if luck < 0.06:
        return dice.choice(_BROKEN)
    if luck < 0.12:
        return _json(dice.choice((None, 1, "x", [], {}, [None], [1], [[]])))
    return _json(usual())


# --- publish


def _event(dice: Dice) -> tuple[bytes, str | None]:
    content_type = dice.choice(_CONTENT_TYPES)
    body = dice.choice(_BROKEN) if dice.random() < 0.2 else _json(value(dice))
    if dice.random() < 0.1:
        body = dice.choice(_TEXTS).encode()
    return body, content_type


def _cloud_event(dice: Dice) -> dict[str, Any]:
    return _fields(
        dice,
        {
            "id": dice.choice(("1", "ü", "x" * 300)),
            "specversion": dice.choice(("1.0", "0.3", "9")),
            "type": dice.choice(("t.v1", "")),
            "source": "s",
            "data": value(dice),
            "subject": dice.choice(_TEXTS),
            "own": dice.choice(("kept", None, 5)),
            "topic": "elsewhere",
            "time": dice.choice(("2020-01-01T00:00:00Z", "yesterday")),
        },
        lose=0.3,
        twist=0.03,
    )


def _metadata(dice: Dice) -> dict[str, str]:
    choices = {
        "cloudevent.type": ("t.v1", "", "ü", "T"),
        "cloudevent.id": ("1", ""),
        "cloudevent.source": ("s", ""),
        "cloudevent.subject": ("task-7", "", "a b"),
        "CloudEvent.Type": ("upper",),
        "cloudevent.data": ("other",),
        "cloudevent.topic": ("other",),
        "ttlInSeconds": ("3600", "0", "-1", "x", "1.5", ""),
        "ttl": ("1h",),
        "partitionKey": ("p", ""),
        "own": ("kept", ""),
        "rawPayload": ("true", "false", "1", "T", "maybe", ""),
    }
    return {name: dice.choice(choices[name]) for name in dice.sample(sorted(choices), dice.choice((0, 0, 1, 1, 2, 3)))}


def publish(dice: Dice) -> Call:
    """A publish to one of the subscribed topics."""
    topic = dice.choice((SINGLE, SINGLE, BULK, RAW))
    body, content_type = _event(dice)
    if dice.random() < 0.2:
        body, content_type = _body(dice, lambda: _cloud_event(dice)), "application/cloudevents+json"
    headers = {} if content_type is None else {"Content-Type": content_type}
    query = {f"metadata.{name}": text for name, text in _metadata(dice).items()}
    return Call(dice.choice(("POST", "POST", "PUT")), f"/v1.0/publish/{BUS}/{topic}", body, headers, query)


def large(dice: Dice) -> Call:
    """A body around the limit of 4 MiB."""
    size = 4 * 1024 * 1024 + dice.choice((-400_000, -200_000, -100_000))
    letters = dice.choice((b"x", "ü".encode() * 2))
    return Call(
        "POST", f"/v1.0/publish/{BUS}/{SINGLE}", letters * (size // len(letters)), {"Content-Type": "text/plain"}
    )


def publish_bulk(dice: Dice) -> Call:
    """A bulk publish, of which now and then entries are wrong."""
    path = dice.choice(("/v1.0/", "/v1.0-alpha1/")) + f"publish/bulk/{BUS}/{dice.choice((SINGLE, BULK, RAW))}"
    query = {f"metadata.{name}": text for name, text in _metadata(dice).items()} if dice.random() < 0.3 else {}
    wrong = dice.random() < 0.3

    def entry(number: int) -> dict[str, Any]:
        content_type = dice.choice(_CONTENT_TYPES) if wrong else dice.choice(("application/json", "text/plain"))
        kind = dice.random()
        event: Any = value(dice) if content_type == "application/json" or wrong else dice.choice(_TEXTS)
        if content_type == "application/octet-stream" and kind < 0.8:
            event = base64.b64encode(dice.randbytes(5)).decode()
        if kind < 0.1:
            content_type, event = "application/cloudevents+json", _cloud_event(dice)
        fields = {
            "entryId": _mostly(dice, lambda: str(number), "", "0", chance=0.1 if wrong else 0),
            "event": event,
            "contentType": content_type,
            "metadata": _mostly(dice, lambda: _metadata(dice), None, {}),
        }
        return _fields(dice, fields) if wrong else fields

    return Call("POST", path, _body(dice, lambda: [entry(n) for n in range(dice.randrange(5))]), JSON, query)


# --- state


def _state_item(dice: Dice) -> dict[str, Any]:
    lifetime = dice.choice(("-1", "0", "-2", "x", "1.5", ""))
    return _fields(
        dice,
        {
            "key": _mostly(dice, lambda: dice.choice(KEYS), "", "a||b", chance=0.05),
            "value": value(dice),
            "etag": dice.choice((None, None, None, CURRENT, STALE, "wrong", "")),
            "metadata": dice.choice((None, None, {}, {"ttlInSeconds": "3600"}, {"ttlInSeconds": lifetime})),
            "options": dice.choice(
                (
                    *(None, {}, {"concurrency": "last-write", "consistency": "strong"}, {"concurrency": "first-write"}),
                    *({"concurrency": "odd"}, {"consistency": "odd"}),
                )
            ),
        },
        twist=0.02,
    )


def state(dice: Dice) -> Call:
    """Any call of the state API: they build on each other, for there are few keys."""
    store = f"/v1.0/state/{STORE}"
    return dice.choice((_save, _save, _get, _get, _delete, _bulk_get, _transact))(dice, store)


def _save(dice: Dice, store: str) -> Call:
    items = [_state_item(dice)]
    query = dice.choice(({}, {}, {}, {"metadata.ttlInSeconds": "60"}, {"metadata.ttlInSeconds": "x"}))
    return Call(dice.choice(("POST", "PUT")), store, _body(dice, lambda: items), JSON, query)


quote_all: Final = functools.partial(quote, safe="")


def _path_key(dice: Dice) -> str:
    return dice.choice(("a||b", "%20", "x/y") if dice.random() < 0.15 else tuple(map(quote_all, KEYS)))


def _get(dice: Dice, store: str) -> Call:
    query = dice.choice(({}, {}, {"consistency": "strong"}, {"consistency": "odd"}, {"metadata.x": "y"}))
    return Call("GET", f"{store}/{_path_key(dice)}", None, {}, query)


def _delete(dice: Dice, store: str) -> Call:
    headers = dice.choice(({}, {}, {"If-Match": CURRENT}, {"If-Match": STALE}, {"If-Match": "wrong"}, {"If-Match": ""}))
    query = dice.choice(({}, {}, {"concurrency": "first-write"}, {"concurrency": "odd"}, {"consistency": "odd"}))
    return Call("DELETE", f"{store}/{_path_key(dice)}", None, headers, query)


def _bulk_get(dice: Dice, store: str) -> Call:
    def wanted() -> dict[str, Any]:
        keys = dice.sample(KEYS, dice.randrange(4))
        return _fields(dice, {"keys": keys, "parallelism": dice.choice((10, 0, -1)), "metadata": {}})

    return Call("POST", f"{store}/bulk", _body(dice, wanted), JSON)


def _transact(dice: Dice, store: str) -> Call:
    def operation() -> dict[str, Any]:
        name = _mostly(
            dice, lambda: dice.choice(("upsert", "upsert", "delete")), "increment", "", "UPSERT", chance=0.06
        )
        return _fields(dice, {"operation": name, "request": _state_item(dice)}, lose=0.02, twist=0.01)

    def body() -> dict[str, Any]:
        operations = [operation() for _ in range(dice.randrange(4))]
        return _fields(dice, {"operations": operations, "metadata": dice.choice((None, {}, {"ttlInSeconds": "60"}))})

    return Call("POST", f"{store}/transaction", _body(dice, body), JSON)


# --- jobs


def jobs(dice: Dice) -> Call:
    """Schedule, read or delete one of two jobs; none of them is due within the test."""
    version, names = dice.choice(("v1.0", "v1.0-alpha1")), ("one", "one", "two")
    odd = ("a%20b", "a:b", "a%2Fb", "a%23b", "%C3%BC", ".", "..", "%20", "a%0Ab", "A_B-1", "a||b")
    path = f"/{version}/jobs/{_mostly(dice, lambda: dice.choice(names), *odd)}"
    method = dice.choice(("POST", "POST", "GET", "GET", "DELETE"))
    if method != "POST":
        return Call(method, path)
    return Call(method, path, _body(dice, lambda: _job(dice)), JSON)


def _job(dice: Dice) -> dict[str, Any]:
    schedules = ("@every 1h", "@hourly", "0 0 9 * * MON-FRI", "CRON_TZ=Europe/Rome 0 0 9 1 * *", "0 0 3 */2 1-5/2 *")
    wrong = (
        "often",
        "* * * * *",
        "0 0 9 * * 7",
        "0 0 9 L * *",
        "61 * * * * *",
        "@every soon",
        "",
        "@Hourly",
        " @hourly",
    )
    times = ("1h", "1h30m", "PT1H", "P1Y2M3DT4H", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00.5+02:00")
    no_times = ("tomorrow", "", "R3/PT1H", "5", "2099-01-01", "1d")
    constant = _fields(
        dice, {"interval": dice.choice(("5s", "0.5s", "1m", "5", 5)), "maxRetries": dice.choice((3, "3", -1))}
    )
    fields: dict[str, Any] = {
        "data": value(dice),
        "schedule": _mostly(dice, lambda: dice.choice((*schedules, None)), *wrong, chance=0.2),
        "dueTime": _mostly(dice, lambda: dice.choice((*times, None)), *no_times),
        "repeats": dice.choice((None, None, 1, 5, "5", 0, -1, 1.5, 2**32)),
        "ttl": dice.choice((None, None, "200h", "2099-06-01T00:00:00Z", "soon")),
        "failurePolicy": dice.choice(
            (None, None, {}, {"drop": {}}, {"constant": constant}, {"drop": {}, "constant": {}})
        ),
        "overwrite": dice.choice((True, True, False, "yes", None)),
    }
    names = {"dueTime": "due_time", "failurePolicy": "failure_policy"}
    snake = {names.get(name, name): content for name, content in fields.items()}
    return _fields(dice, snake if dice.random() < 0.1 else fields, lose=0.15, twist=0.02)


# --- the rest


def addresses(dice: Dice) -> Call:
    """Secrets, metadata, health, and addresses that are wrong, with every method."""
    known = (
        *(f"/v1.0/secrets/{VAULT}/api-key", f"/v1.0/secrets/{VAULT}/bulk", f"/v1.0/secrets/{VAULT}/none"),
        *(f"/v1.0/secrets/{ENVIRONMENT}/THING", f"/v1.0/secrets/{ENVIRONMENT}/NONE", "/v1.0/secrets/nobody/a"),
        *(f"/v1.0/secrets/{VAULT}/a/b", f"/v1.0/secrets/{VAULT}", "/v1.0/secrets/nobody/bulk", "/v1.0/healthz"),
        *("/v1.0/healthz/outbound", "/v1.0/healthz/", "/v1.0/metadata/note", "/v1.0/metadata/a%20b", "/v1.0/nothing"),
        *("/", "/v1.0", "/v1.0/publish", f"/v1.0/publish/{BUS}", f"/v1.0/publish/{BUS}/", "/v1.0/publish//t"),
        *("/v1.0/publish/nobody/t", "/v1.0/publish/bulk/nobody/t", f"/v1.0/state/{STORE}/", "/v1.0/state/nobody/k"),
        *(
            "/v1.0/state/nobody",
            "/v1.0/state/nobody/bulk",
            "/v1.0/state/nobody/transaction",
            "/v1.0/jobs",
            "/v1.0/jobs/",
        ),
        *("/v1.0-alpha1/healthz", f"/v1.0-alpha1/state/{STORE}/query", "/v1.0/invoke/nobody", "/v1.0/invoke/nobody/x"),
        *("/v2.0/metadata", "/dapr/subscribe", "/v1.0/PUBLISH/bus/t", "/v1.0//healthz"),
    )
    method = dice.choice(("GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))
    body = dice.choice((b"", b"{}", b"[]", b"text")) if method in ("POST", "PUT", "PATCH") else None
    return Call(method, dice.choice(known), body, JSON if body else {})


GENERATORS: Final[Sequence[Generator]] = (publish, publish_bulk, state, jobs, addresses)
