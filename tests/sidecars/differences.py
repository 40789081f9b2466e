"""The calls that daprlet and daprd answer differently on purpose; docs/engine-differences.md has the same rows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.sidecars.calls import JSON, SINGLE, Call
from tests.sidecars.twins import Difference
from tests.sidecars.world import BUS, STORE

_CLOUD_EVENT: Final = {"Content-Type": "application/cloudevents+json"}
_PUBLISH: Final = f"/v1.0/publish/{BUS}/{SINGLE}"


@dataclass(frozen=True)
class Known:
    """What is different (`name`, `why`), whether a difference found is this one, and calls that show it, in order."""

    name: str
    why: str
    explains: Callable[[Difference], bool]
    calls: Sequence[Call]


def _job(**fields: object) -> Call:
    return Call("POST", "/v1.0/jobs/odd", json.dumps({"data": 1, **fields}).encode(), JSON)


def _refused(word: str) -> Callable[[Difference], bool]:
    """What the Scheduler takes and daprlet does not, where the request holds this word."""
    return lambda found: (
        _status(found.theirs) == 204
        and _status(found.ours) in (400, 500)
        and "/jobs/" in found.call.path
        and word in (found.call.body or b"").decode()
    )


def _is_null_event(found: Difference) -> bool:
    return bool(found.call.body) and b"null" in (found.call.body or b"") and _status(found.theirs) == 0


def _is_raw_null(found: Difference) -> bool:
    return (
        any("metadata.rawPayload" in name for name in found.call.query) and (found.call.body or b"").strip() == b"null"
    )


def _status(told: object) -> int:
    return int(told["status"]) if isinstance(told, dict) else -1


KNOWN: Final = (
    Known(
        "a CloudEvent that is `null`",
        "daprd 1.18.2 panics and closes the connection; daprlet answers 500 as for every body that is no CloudEvent",
        _is_null_event,
        [Call("POST", _PUBLISH, b"null", _CLOUD_EVENT)],
    ),
    Known(
        "the raw payload `null`",
        "on Redis daprd delivers `null` where an envelope belongs, on Kafka it is a tombstone; for daprlet it is no "
        "event, and is dead-lettered",
        _is_raw_null,
        [Call("POST", _PUBLISH, b"null", {}, {"metadata.rawPayload": "true"})],
    ),
    Known(
        "a number that no double holds (`1e400`) in an event",
        "daprd publishes it and cannot read it at delivery: it is dead-lettered; daprlet delivers the digits",
        lambda found: b"1e400" in (found.call.body or b"") and "/publish/" in found.call.path,
        [Call("POST", _PUBLISH, b"1e400", JSON)],
    ),
    Known(
        "reading a job without data",
        "daprd 1.18.2 accepts one and then can neither show nor fire it; daprlet does both",
        lambda found: "none of the oneof fields" in str(found.theirs),
        [Call("POST", "/v1.0/jobs/odd", b'{"dueTime": "1h", "overwrite": true}', JSON), Call("GET", "/v1.0/jobs/odd")],
    ),
    Known(
        "a job that never fires (`0 0 0 31 2 *`)",
        "the Scheduler keeps it for ever; daprlet refuses it, for it is a mistake",
        _refused("31 2"),
        [_job(schedule="0 0 0 31 2 *", overwrite=True)],
    ),
    Known(
        "`@every` with a duration of 0 or less",
        "the Scheduler fires it without a pause; daprlet refuses it",
        _refused("@every -1h"),
        [_job(schedule="@every -1h", dueTime="1h", overwrite=True)],
    ),
    Known(
        "a time zone before `@every`",
        "the Scheduler refuses it from 1.18.3 on, 1.18.2 ignores it; daprlet refuses it",
        _refused("TZ="),
        [_job(schedule="TZ=Europe/Rome @every 1h", overwrite=True)],
    ),
    Known(
        "a failure policy whose interval is negative",
        "the Scheduler takes it; daprlet refuses it, for it is a mistake",
        _refused("-5s"),
        [_job(dueTime="1h", overwrite=True, failurePolicy={"constant": {"interval": "-5s"}})],
    ),
    Known(
        "a key asked for twice in one bulk read of state",
        "daprd answers an empty key for the second one; daprlet answers the value twice",
        lambda found: found.call.path == f"/v1.0/state/{STORE}/bulk" and {"key": ""} in found.theirs["body"],
        [
            Call("POST", f"/v1.0/state/{STORE}", b'[{"key": "twice", "value": 1}]', JSON),
            Call("POST", f"/v1.0/state/{STORE}/bulk", b'{"keys": ["twice", "twice"]}', JSON),
        ],
    ),
)


def unexplained(found: Sequence[Difference]) -> list[Difference]:
    """The differences that no row of `KNOWN` is about."""
    return [one for one in found if not any(known.explains(one) for known in KNOWN)]
