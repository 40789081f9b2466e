"""From a run that came to rest to a verdict that a test can assert."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from tests.faults.bench import Bench
from tests.faults.judge import SENDS, Evidence, Verdict, agrees, judge
from todo.messaging.consumer import ATTEMPTS

BYSTANDER: Final = "the process ended"  # how the parking of such an event begins
Show = Callable[[str, Mapping[str, Any]], None]  # prints a titled table


async def gather(bench: Bench) -> Evidence:
    client = bench.client
    histories = await asyncio.gather(*(client.task(task_id) for task_id in bench.ledger.tasks))
    return Evidence(
        {task.id: task async for task in client.tasks(status="all")},
        {task.id: task for task in histories},
        await bench.mails(),
        (await bench.api.pipeline()).value,
    )


async def replay_bystanders(bench: Bench) -> int:
    """Replay what was parked because its app died twice while it was in hand: killed from outside, nobody can tell.

    Every other dead letter is left for the verdict.
    """
    replayed = 0
    for letter in (await bench.api.letters("open", 500)).value.dead_letters:
        deaths = len(bench.ledger.blows_to(letter.app))
        if letter.error.startswith(BYSTANDER) and deaths >= ATTEMPTS:
            await bench.api.replay(letter.id)
            replayed += 1
    return replayed


async def conclude(  # noqa: PLR0913 - what is judged, how, and where it is shown
    bench: Bench,
    title: str,
    show: Show,
    *,
    excused: Sequence[str] = SENDS,
    exposed: Collection[str] | None = None,
    seen: Mapping[str, object] | None = None,
) -> Verdict:
    """Judge, print what was seen, and fail with every broken promise; `verify` must say the same."""
    verdict = judge(bench.ledger, await gather(bench), excused=excused, exposed=exposed)
    report = await bench.verify()
    differences = agrees(report, verdict)
    kinds = Counter(str(finding.kind) for finding in report.findings)
    verified = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no disagreement"
    show(title, {**verdict.counts, **(seen or {}), "todo verify": verified, "broken promises": len(verdict.findings)})
    assert not verdict.findings, "\n".join(verdict.findings[:30])
    assert not differences, "\n".join(differences)
    return verdict
