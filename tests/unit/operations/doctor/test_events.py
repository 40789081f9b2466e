from typing import Any

from tests.unit.operations.doctor.shapes import found, healthy
from todo.contracts import names
from todo.operations.brokers import Lag
from todo.operations.doctor.findings import Code, Finding
from todo.operations.doctor.seen import Moment, Outbox, Seen

TOPIC = names.TASK_EVENTS
APP = names.NOTIFICATION.app_id


def moment(at: float, **parts: Any) -> Moment:  # noqa: ANN401 - whatever moves
    return Moment(at=at, **parts)


def lagging(before: int, now: int, published: tuple[int, int]) -> list[Finding]:
    def of(at: float, left: int, ever: int) -> Moment:
        return moment(at, lag={(APP, TOPIC): Lag(left)}, published={TOPIC: ever})

    return found(two_looks(of(0, before, published[0]), of(6, now, published[1])))


def two_looks(before: Moment, now: Moment) -> Seen:
    return healthy(before=before, now=now)


def test_an_app_that_takes_nothing() -> None:
    (finding,) = lagging(5, 7, (10, 12))
    assert finding.code is Code.CONSUMER_LAG
    assert finding.what == f"{APP} takes nothing from {TOPIC}"
    assert finding.evidence == ("7 events left, 5 6 s earlier, 0 taken",)


def test_an_app_that_does_not_keep_up() -> None:
    (finding,) = lagging(500, 900, (1_000, 1_900))
    assert finding.what == f"{APP} does not keep up with {TOPIC}"


def test_a_lag_that_comes_and_goes_is_none() -> None:
    """Events on their way, a burst that is being worked off, and one that began between the looks."""
    assert not lagging(5, 4, (10, 12))
    assert not lagging(900, 400, (1_000, 1_100))
    assert not lagging(0, 3, (10, 13))
    assert not lagging(50, 120, (100, 300))


def test_an_outbox_that_is_old() -> None:
    """Young ones are on their way, however many."""
    waiting = two_looks(moment(0, outboxes={APP: Outbox(100, 90.0)}), moment(6, outboxes={APP: Outbox(150, 96.0)}))
    (finding,) = found(waiting)
    assert finding.code is Code.OUTBOX_WAITING
    assert finding.evidence == ("the oldest for 96 s", "6 s earlier it was 100")
    assert not found(two_looks(moment(0), moment(6, outboxes={APP: Outbox(10_000, 3.0)})))


def test_refusals_of_long_ago_are_none() -> None:
    """Counters only grow: what counts is what came between two looks."""
    assert not found(two_looks(moment(0, refused=refused(12)), moment(6, refused=refused(12))))
    (finding,) = found(two_looks(moment(0, refused=refused(12)), moment(6, refused=refused(14))))
    assert finding.code is Code.DELIVERIES_REFUSED
    assert finding.evidence == ("2 within 6 s were answered with 503, says the service",)
    assert not found(healthy(now=moment(0, refused=refused(12))))


def test_refusals_of_one_that_did_not_answer_at_first_are_not_new() -> None:
    """Of another that did, one more is."""
    before, now = {"a": refused(12)["a"]}, refused(12) | {"b": refused(3)["a"]}
    assert not found(two_looks(moment(0, refused=before), moment(6, refused=now)))
    (finding,) = found(two_looks(moment(0, refused=before), moment(6, refused=now | refused(13))))
    assert finding.evidence == ("1 within 6 s were answered with 503, says the service",)


def refused(count: float) -> dict[str, dict[tuple[str, str, str], float]]:
    return {"a": {(APP, TOPIC, "were answered with 503, says the service"): count}}


def test_a_relay_more_than_replicas_for_a_moment_is_none() -> None:
    """The connection of a replica that was just killed lasts a while."""
    more, ours = moment(0, relays={"backend": 2}), moment(6, relays={"backend": 1})
    assert not found(two_looks(more, ours))
    assert not found(two_looks(ours, more))
    (finding,) = found(two_looks(more, more))
    assert finding.code is Code.TWO_SYSTEMS
