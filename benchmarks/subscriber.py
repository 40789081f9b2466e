"""A tiny app beside a sidecar, a process of its own: it counts the distinct events of its topics and does nothing else.

python -m benchmarks.subscriber PORT PUBSUB TOPIC=SIZE ...
"""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec
import uvicorn

ROUTE: Final = "/events/"  # the services' own, so that a sidecar need not ask again

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Event(msgspec.Struct):
    id: str


class _Entry(msgspec.Struct, rename="camel"):
    entry_id: str
    event: _Event


class _Delivery(msgspec.Struct):
    entries: list[_Entry] | None = None
    id: str = ""


class Subscriber:
    """`GET /count` answers {topic: [distinct events, Unix time of the last]}, as does any path: it is healthy."""

    def __init__(self, pubsub: str, sizes: dict[str, int]) -> None:
        self._subscriptions = [_subscription(pubsub, topic, size) for topic, size in sizes.items()]
        self._seen: dict[str, set[str]] = {ROUTE + topic: set() for topic in sizes}
        self._last = dict.fromkeys(self._seen, 0.0)
        self._decode = msgspec.json.Decoder(_Delivery).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = self._answer(scope["path"], body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, body: bytes) -> bytes:
        if path in self._seen:
            return self._take(path, self._decode(body))
        if path == "/dapr/subscribe":
            return msgspec.json.encode(self._subscriptions)
        counts = {path.removeprefix(ROUTE): (len(seen), self._last[path]) for path, seen in self._seen.items()}
        return msgspec.json.encode(counts)

    def _take(self, path: str, delivery: _Delivery) -> bytes:
        self._seen[path].update(_ids(delivery))
        self._last[path] = time.time()
        if delivery.entries is None:
            return b""
        statuses = [{"entryId": entry.entry_id, "status": "SUCCESS"} for entry in delivery.entries]
        return msgspec.json.encode({"statuses": statuses})


def _ids(delivery: _Delivery) -> Iterator[str]:
    return iter([delivery.id]) if delivery.entries is None else (entry.event.id for entry in delivery.entries)


def _subscription(pubsub: str, topic: str, size: int) -> dict[str, Any]:
    """As the services subscribe: batches of at most `size`, as soon as there is anything."""
    bulk = {"enabled": True, "maxMessagesCount": size, "maxAwaitDurationMs": 10}
    return {
        "pubsubname": pubsub,
        "topic": topic,
        "route": ROUTE + topic,
        **({"bulkSubscribe": bulk} if size > 1 else {}),
    }


if __name__ == "__main__":
    port, pubsub, *topics = sys.argv[1:]
    app = Subscriber(pubsub, {topic: int(size) for topic, _, size in (one.partition("=") for one in topics)})
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, lifespan="off")
