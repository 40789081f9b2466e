"""The public API on one worker, sixteen connections that ask again as soon as they are answered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from benchmarks.measure import Act, Row, Target, closed_loop, cpu_seconds
from benchmarks.stage import USER, YEAR, Stage
from todo.contracts import names

CONNECTIONS: Final = 16
WARM_UP: Final = 200
CREATES: Final = 6_000
LISTS: Final = 3_000
PAGE: Final = 100


async def run(stage: Stage) -> Sequence[Row]:
    due = datetime.now(UTC) + YEAR

    async def create(number: int) -> None:
        await stage.create(f"Water plant {number}", due)

    async def page(_: int) -> None:
        query = {"user_id": str(USER), "limit": str(PAGE)}
        async with stage.http.get(f"{stage.system.backend_url}/tasks", params=query) as answer:
            body = await answer.read()
            assert answer.status == 200, body

    creates = await _load(stage, "API: create", CREATES, create, 1_500)
    await stage.quiet()
    await stage.database.execute("ANALYZE backend.tasks")  # as autovacuum does within a minute of such growth
    return [creates, await _load(stage, f"API: list of {PAGE}", LISTS, page, 600)]


async def _load(stage: Stage, what: str, count: int, act: Act, least: float) -> Row:
    count = stage.sized(count)
    await closed_loop(CONNECTIONS, WARM_UP, act)
    backend = [stage.system.pid(names.BACKEND.app_id) or 0]
    cpu = cpu_seconds(backend)
    seconds = await closed_loop(CONNECTIONS, count, act)
    cpu = cpu_seconds(backend) - cpu
    target = Target("rate", least, "/s", at_least=True)
    also = {"backend's CPU": f"{cpu / count * 1e6:,.0f} us a request"}
    return Row(f"{what}, {CONNECTIONS} connections", "/s", {"rate": count / seconds}, (target,), also)
