"""What an app subscribes to, from `GET /dapr/subscribe` and from Subscription resources."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from daprlet.errors import SetupError
from daprlet.routing import Match, RuleError, compile_rule

_log = logging.getLogger(__name__)

_DEFAULT_BATCH: Final = 100


class BulkSpec(msgspec.Struct, rename="camel"):
    enabled: bool = False
    max_messages_count: int = 0
    max_await_duration_ms: int = 0


class RuleSpec(msgspec.Struct):
    path: str
    match: str = ""


class RoutesSpec(msgspec.Struct):
    rules: list[RuleSpec] = []
    default: str = ""


class SubscriptionSpec(msgspec.Struct, rename="camel"):
    """One entry of the app's answer, and the `spec` of a v2alpha1 resource."""

    pubsubname: str = ""
    topic: str = ""
    route: str = ""
    routes: RoutesSpec | None = None
    dead_letter_topic: str = ""
    metadata: dict[str, str] | None = None
    bulk_subscribe: BulkSpec | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    path: str
    text: str
    match: Match = field(compare=False)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as delivery needs it. `batch` is 0 for single deliveries, else the largest bulk delivery."""

    pubsub: str
    topic: str
    rules: tuple[Rule, ...]
    default: str
    dead_letter_topic: str = ""
    raw: bool = False
    batch: int = 0
    kind: str = "PROGRAMMATIC"
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.pubsub, self.topic

    def path(self, event: Any) -> str | None:  # noqa: ANN401 - JSON
        """Where an envelope goes: the first rule that matches, else the default, else nowhere."""
        return next((rule.path for rule in self.rules if rule.match(event)), self.default or None)


def from_answer(body: bytes) -> list[Subscription]:
    """The subscriptions an app listed; raises ValueError when the list cannot be read."""
    specs = msgspec.json.decode(body or b"[]", type=list[SubscriptionSpec] | None) or []
    found = [subscription for spec in specs if (subscription := compile_spec(spec, "PROGRAMMATIC"))]
    return unique(found)


def compile_spec(spec: SubscriptionSpec, kind: str) -> Subscription | None:
    """The spec ready for use; None (with a warning, as Dapr) when it has no route. Raises `RuleError`."""
    rules, default = _routes(spec)
    if not rules and not default:
        _log.warning("subscription to %s on %s has no route and is ignored", spec.topic, spec.pubsubname)
        return None
    return Subscription(
        pubsub=spec.pubsubname,
        topic=spec.topic,
        rules=rules,
        default=default,
        dead_letter_topic=spec.dead_letter_topic,
        raw=(spec.metadata or {}).get("rawPayload", "").lower() == "true",
        batch=_batch(spec.bulk_subscribe),
        kind=kind,
        metadata=tuple((spec.metadata or {}).items()),
    )


def _routes(spec: SubscriptionSpec) -> tuple[tuple[Rule, ...], str]:
    routes = spec.routes or RoutesSpec()
    default = routes.default or spec.route
    rules = []
    for rule in routes.rules:
        if rule.match:
            rules.append(Rule(rule.path, rule.match, compile_rule(rule.match)))
        else:
            default = default or rule.path
    return tuple(rules), default


def _batch(bulk: BulkSpec | None) -> int:
    if bulk is None or not bulk.enabled:
        return 0
    return bulk.max_messages_count if bulk.max_messages_count > 0 else _DEFAULT_BATCH


def unique(subscriptions: Sequence[Subscription]) -> list[Subscription]:
    """The first subscription of each topic; a second one could only compete with it."""
    found: dict[tuple[str, str], Subscription] = {}
    for subscription in subscriptions:
        if subscription.key in found:
            _log.warning(
                "%s on %s is subscribed to twice; the first one counts", subscription.topic, subscription.pubsub
            )
        found.setdefault(subscription.key, subscription)
    return list(found.values())


def declared(where: str, spec: SubscriptionSpec) -> Subscription:
    """The subscription of a resource file; what the file gets wrong is a `SetupError`."""
    if not spec.pubsubname or not spec.topic:
        raise SetupError(f"{where}: spec.pubsubname and spec.topic are required")
    try:
        subscription = compile_spec(spec, "DECLARATIVE")
    except RuleError as error:
        raise SetupError(f"{where}: spec.routes.rules: {error}") from error
    if subscription is None:
        raise SetupError(f"{where}: spec.routes.default or a rule is required")
    return subscription


def describe(subscriptions: Mapping[tuple[str, str], Subscription]) -> list[dict[str, Any]]:
    """The list as `/v1.0/metadata` shows it."""
    return [
        {
            "pubsubname": one.pubsub,
            "topic": one.topic,
            **({"metadata": dict(one.metadata)} if one.metadata else {}),
            "rules": [{"match": rule.text, "path": rule.path} for rule in one.rules]
            + ([{"path": one.default}] if one.default else []),
            "deadLetterTopic": one.dead_letter_topic,
            "type": one.kind,
        }
        for one in subscriptions.values()
    ]
