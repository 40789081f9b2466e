"""5,000 reminders due at one instant: how late they are at the mailbox, lost and sent twice."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Row, Target, closed_loop, cpu_seconds, percentile, rss_mb, until
from benchmarks.stage import Stage

REMINDERS: Final = 5_000
CONNECTIONS: Final = 16
SLOWEST: Final = 250  # creations a second that are waited for before the instant


async def run(stage: Stage) -> Sequence[Row]:
    count = stage.sized(REMINDERS)
    due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5 + count / SLOWEST)
    creating = await closed_loop(CONNECTIONS, count, lambda number: stage.create(f"surge {number}", due))
    await stage.quiet()
    assert dt.datetime.now(dt.UTC) < due, "the tasks were not there in time"
    before = await stage.mail_count()
    own, postgres = cpu_seconds(stage.own_pids), cpu_seconds(stage.postgres_pids)

    async def all_there() -> bool:
        return await stage.mail_count() >= before + count

    await until(all_there, "every mail in the mailbox", every=0.2)
    await stage.quiet()  # the outcomes are part of it, and a mail sent twice has had time to come
    own, postgres = cpu_seconds(stage.own_pids) - own, cpu_seconds(stage.postgres_pids) - postgres
    mails = [mail for mail in await stage.mails() if mail.Subject.startswith("Reminder: surge ")]
    late = [(mail.Created - due).total_seconds() for mail in mails if mail.Created]
    titles = {mail.Subject for mail in mails}
    twice = sum(times - 1 for times in Counter(mail.MessageID for mail in mails).values())
    numbers = {f"p{share}": percentile(late, share) for share in (50, 95, 99)} | {"max": max(late)}
    return [
        Row(
            f"{count:,} reminders due at one instant, lateness at the mailbox",
            "s",
            numbers,
            (Target("p99", 10, "s"),),
            {
                "mails/s": f"{len(mails) / max(late):,.0f}",
                "created/s": f"{count / creating:,.0f}",
                "CPU a mail": f"{own / count * 1000:.2f} ms (PostgreSQL {postgres / count * 1000:.2f})",
            },
        ),
        Row(
            "of these lost, sent twice, early",
            "",
            {"lost": count - len(titles), "twice": twice, "early": sum(one < 0 for one in late)},
            (Target("lost", 0, ""), Target("twice", 0, ""), Target("early", 0, "")),
        ),
        Row("RSS of daprlet and the services after all that", "MiB", {"together": rss_mb(stage.own_pids)}),
    ]
