"""One Kafka for many worlds: it starts for longer than most of them run."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from todo.operations.engine.kafka import KafkaServer


@contextmanager
def running_kafka(folder: Path) -> Iterator[str]:
    """Run a broker that makes topics when they are asked for, and give its address.

    Its supervisor has an event loop of its own, for those of the tests come and go.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kafka", daemon=True)
    thread.start()
    server = KafkaServer(folder, auto_create_topics=True)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        try:
            yield server.bootstrap
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
