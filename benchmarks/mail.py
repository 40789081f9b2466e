"""From the POST of a task whose reminder is due now to its mail in the mailbox, otherwise idle."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from benchmarks.measure import Row, Target, paced, spread, until
from benchmarks.stage import Stage

RATE: Final = 7.0  # not a divisor of the tick: tasks come at every phase of it
TASKS: Final = 70
WARM_UP: Final = 7


async def run(stage: Stage) -> Sequence[Row]:
    begun: dict[str, datetime] = {}

    async def create(number: int) -> None:
        title = f"due now {number}"
        begun[title] = datetime.now(UTC)
        await stage.create(title, begun[title])

    count = WARM_UP + stage.sized(TASKS)
    before = await stage.mail_count()
    await paced(RATE, count, create)

    async def all_there() -> bool:
        return await stage.mail_count() >= before + count

    await until(all_there, "every mail in the mailbox")
    arrived = {mail.Subject.removeprefix("Reminder: "): mail.Created for mail in await stage.mails()}
    taken = [(at - began).total_seconds() for title, began in begun.items() if (at := arrived[title])]
    targets = (Target("p95", 1500, "ms"), Target("p99", 1100, "ms"))
    numbers = spread(taken[WARM_UP:], 50, 95, 99)
    return [Row("create with a reminder due now -> mail in the mailbox, idle", "ms", numbers, targets)]
