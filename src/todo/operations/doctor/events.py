"""Events that do not get on: in the outbox, on the broker, refused, unreadable, given up."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Letters, Moment, Outbox, Seen

OLD: Final = 30.0  # seconds that an event may wait in the outbox: a relay sweeps every second
GROWN: Final = 100  # events by which a lag grows between two looks before it is told: it breathes


def check(seen: Seen) -> Iterator[Finding]:
    """What does not move, by two looks, and what was given up."""
    if seen.now is not None:
        before = seen.before or seen.now
        yield from _outboxes(before, seen.now)
        if seen.before is not None:
            yield from _lag(seen.before, seen.now)
            yield from _refused(seen.before, seen.now)
    for one in seen.database.letters if seen.database else ():
        yield _letters(one)


def is_suspicious(seen: Seen) -> bool:
    """Whether a second look may tell more: something waits, or was refused some time."""
    moment = seen.now
    return moment is not None and (
        any(one.total for one in (moment.lag or {}).values())
        or any(one.oldest > 1 for one in moment.outboxes.values())
        or any(moment.refused.values())
    )


def _outboxes(before: Moment, now: Moment) -> Iterator[Finding]:
    for app_id, waiting in now.outboxes.items():
        earlier = before.outboxes.get(app_id, Outbox(0, 0.0))
        if waiting.oldest <= OLD:
            continue
        seconds = now.at - before.at
        grew = f"{seconds:.0f} s earlier it was {earlier.depth:,}" if seconds else ""
        held = f"its relay is {waiting.paused}" if waiting.paused else ""
        yield found(
            Code.OUTBOX_WAITING,
            app_id,
            f"{waiting.depth:,} events of {app_id} wait to be published",
            f"the oldest for {waiting.oldest:.0f} s",
            grew,
            held,
            to_do="wait for the end of what paused it; a pause that is not renewed ends by itself" if held else "",
            app=app_id,
        )


def _lag(before: Moment, now: Moment) -> Iterator[Finding]:
    for (app_id, topic), left in (now.lag or {}).items():
        earlier = (before.lag or {}).get((app_id, topic))
        if earlier is None or not earlier.total or not left.total:
            continue
        taken = now.published.get(topic, 0) - left.total - (before.published.get(topic, 0) - earlier.total)
        evidence = f"{left.total:,} events left, {earlier.total:,} {now.at - before.at:.0f} s earlier, {taken:,} taken"
        if taken <= 0:
            what = f"{app_id} takes nothing from {topic}"
        elif left.total > earlier.total + GROWN:
            what = f"{app_id} does not keep up with {topic}"
        else:
            continue
        yield found(Code.CONSUMER_LAG, f"{app_id}/{topic}", what, evidence, app=app_id)


def _refused(before: Moment, now: Moment) -> Iterator[Finding]:
    seconds = now.at - before.at
    more: Counter[tuple[str, str, str]] = Counter()
    for whose, counts in now.refused.items():
        earlier = before.refused.get(whose)
        if earlier is not None:  # of whom the first look did not see, nothing is known to be new
            more.update({key: int(max(0, count - earlier.get(key, 0.0))) for key, count in counts.items()})
    refused: dict[tuple[str, str], list[str]] = {}
    for (app_id, topic, ended), count in (+more).items():
        refused.setdefault((app_id, topic), []).append(f"{count} within {seconds:.0f} s {ended}")
    for (app_id, topic), evidence in refused.items():
        what = f"{app_id} refuses events of {topic}"
        yield found(Code.DELIVERIES_REFUSED, f"{app_id}/{topic}", what, *evidence, app=app_id)


def _letters(one: Letters) -> Finding:
    events = "1 event" if one.count == 1 else f"{one.count:,} events"
    shown = f"`todo dead-letters show {one.first_id}`"
    if one.unreadable:
        what = f"{events} on {one.topic} could not be read by {one.app}"
        return found(Code.EVENT_UNREADABLE, f"{one.app}/{one.topic}", what, one.unreadable, f"the first: {shown}")
    what = f"{events} on {one.topic} {'was' if one.count == 1 else 'were'} given up by {one.app}"
    return found(Code.DEAD_LETTERS, f"{one.app}/{one.topic}", what, one.error[:300], f"the first: {shown}")
