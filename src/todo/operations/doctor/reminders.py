"""Reminders that somebody gets twice, and what makes them.

Within one system a reminder is mailed again only when the answer to its first mail was lost or late: the delivery
history shows that. Across systems: two on one database. Replicas and repeated events do not: each mail is claimed
first, and job ticks are only wake-ups.
"""

from collections import Counter
from collections.abc import Iterator

from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Moment, Repeated, Seen


def check(seen: Seen) -> Iterator[Finding]:
    """Mails that went out twice, and a second system on the database."""
    for one in seen.database.repeated if seen.database else ():
        yield _repeated(one)
    for message_id, count in seen.repeated_mails.items():
        what = f"a mail is {count} times in the mailbox"
        yield found(Code.MAIL_REPEATED, message_id, what, f"Message-ID {message_id}")
    if seen.before is not None and seen.now is not None:
        yield from _strangers(seen, seen.before, seen.now)


def extra_relays(seen: Seen, moment: Moment | None = None) -> dict[str, int]:
    """By app id: how many relays there are beyond one for each replica that was seen; at the moment that is now."""
    looked_at = moment or seen.now
    ours = Counter(one.app_id for one in seen.replicas)
    relays = looked_at.relays if looked_at else {}
    return {app_id: count - ours[app_id] for app_id, count in relays.items() if count > ours[app_id]}


def _repeated(one: Repeated) -> Finding:
    what = f"reminder {one.reminder} of task {one.task_id} reached the mail server more than once"
    return found(Code.MAIL_REPEATED, f"{one.task_id}/{one.reminder}", what, *one.attempts)


def _strangers(seen: Seen, before: Moment, now: Moment) -> Iterator[Finding]:
    """In both looks: the connection of a replica that was just killed lasts a few seconds."""
    lasting = extra_relays(seen, before).keys()
    ours = Counter(one.app_id for one in seen.replicas)
    for app_id in extra_relays(seen):
        if app_id in lasting:
            says = seen.database.instances.get(app_id, ()) if seen.database else ()
            yield found(
                Code.TWO_SYSTEMS,
                app_id,
                f"another {app_id} works on the same database",
                f"{now.relays[app_id]} relays hold or ask for its lock, {ours[app_id]} replicas run here",
                f"the database's table of running instances: {', '.join(says)}" if says else "",
            )
