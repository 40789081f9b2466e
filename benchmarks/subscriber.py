"""A tiny app for daprlet, a process of its own: counts distinct events of topics named for their batch size.

python -m benchmarks.subscriber PORT SIZE ...
"""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import uvicorn

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
    """`GET /count` answers {topic: [distinct events, Unix time of the last]}."""

    def __init__(self, sizes: list[int]) -> None:
        self._subscriptions = [_subscription(size) for size in sizes]
        self._seen: dict[str, set[str]] = {f"/batch-{size}": set() for size in sizes}
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
        counts = {path[1:]: (len(seen), self._last[path]) for path, seen in self._seen.items()}
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


def _subscription(size: int) -> dict[str, Any]:
    topic = f"batch-{size}"
    bulk = {"bulkSubscribe": {"enabled": True, "maxMessagesCount": size}} if size > 1 else {}
    return {"pubsubname": "pubsub", "topic": topic, "route": f"/{topic}", **bulk}


if __name__ == "__main__":
    app = Subscriber([int(size) for size in sys.argv[2:]])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off")
