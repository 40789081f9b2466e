"""What a look at a system came to. Gathering fills it, judging only reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daprlet import checker
from todo.contracts.mail import MailCheck
from todo.operations.brokers import BrokerError, Lag
from todo.operations.topics import Finding as TopicFinding

Object = Mapping[str, Any]
Refused = Mapping[tuple[str, str, str], float]  # deliveries, ever, by app id, topic and how they ended
Series = tuple[str, frozenset[tuple[str, str]]]  # of a metric: its name and its labels


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock other than ours: how far it is ahead of ours in seconds, within `blur` seconds either way."""

    ahead: float
    blur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One replica's own answers. `away` says why there is none."""

    away: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)  # of /readyz: what it needs and lacks
    clock: Reading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One sidecar's answers. `away` says why there is none, `waits` what it is not ready for.

    `metadata` is None when it did not answer that. `jobs` are those its app must have: the schedule, None without one.
    """

    away: str = ""
    waits: str = ""
    refused_token: bool = False
    metadata: Mapping[str, Any] | None = None
    jobs: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process of a service and its sidecar; None: that one is not there to be asked."""

    name: str
    app_id: str
    service: Service | None = None
    sidecar: Sidecar | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """How many events wait, and how long the oldest has, in seconds."""

    depth: int
    oldest: float
    paused: str = ""  # by whom and why, while a pause is in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What moves, at one moment. None: it could not be told."""

    at: float  # monotonic seconds
    outboxes: Mapping[str, Outbox] = field(default_factory=dict)  # by app id
    lag: Mapping[tuple[str, str], Lag] | None = None  # by app id and topic
    published: Mapping[str, int] = field(default_factory=dict)  # by topic, ever
    refused: Mapping[str, Refused] = field(default_factory=dict)  # by whose metrics say so
    relays: Mapping[str, int] = field(default_factory=dict)  # by app id: those that hold or ask for the lock


@dataclass(frozen=True, slots=True)
class Letters:
    """Open dead letters of one app, topic and error; `unreadable` is why the first one's bytes are no event."""

    app: str
    topic: str
    error: str
    count: int
    first_id: int
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A reminder of which more than one attempt may have been mailed: each attempt's number, time and outcome."""

    task_id: str
    reminder: str
    attempts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Whom the database does not let in, and why."""

    who: str
    reason: str
    is_login: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """`revisions` is (what a schema is at, what the code needs) by app id, for those that lack something."""

    refusals: Sequence[Refusal] = ()
    behind: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    clock: Reading | None = None
    letters: Sequence[Letters] = ()
    repeated: Sequence[Repeated] = ()
    instances: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by app id: who says that it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLook:
    """The broker behind the pub/sub component. `ports` says by address why nothing can be sent there, "" if it can."""

    place: str
    ports: Mapping[str, str] = field(default_factory=dict)
    error: BrokerError | None = None
    topics: Sequence[TopicFinding] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """Somebody refers to a key of a secret (None: to the whole secret)."""

    secret: str
    key: str | None
    by: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """What may be told of a secret's value."""

    empty: bool
    blanks: bool  # white space at its beginning or end


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """What Kubernetes says. None: we may not see it."""

    deployments: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    namespace: Object | None = None
    webhooks: Sequence[Object] | None = None  # of Dapr's injector
    has_definitions: bool | None = None  # Dapr's kinds are known to the API server
    injector: Sequence[Object] | None = None  # its pods
    said: Mapping[tuple[str, str], str] = field(default_factory=dict)  # by pod and container: the end of its log


@dataclass(kw_only=True)
class Seen:
    """Everything that was seen, and what was not, with the reason, by theme."""

    where: str
    namespace: str
    replicas: Sequence[Replica] = ()
    resources: list[checker.Document] | None = None  # components, Resiliency and so on, as they are applied
    unreadable: Sequence[checker.Finding] = ()  # resource files that are none
    stores: Sequence[str] = ()  # the secret stores that the host brings along
    references: Sequence[Reference] = ()
    secrets: Mapping[str, Mapping[str, Key] | None] | None = None  # None: absent
    broker: BrokerLook | None = None
    database: Database | None = None
    mail: MailCheck | None = None
    repeated_mails: Mapping[str, int] = field(default_factory=dict)  # Message-IDs in the development mailbox
    pods: Pods | None = None
    before: Moment | None = None
    now: Moment | None = None
    looked_at: dict[str, str] = field(default_factory=dict)
    not_looked_at: dict[str, str] = field(default_factory=dict)
