"""What becomes of events: lost, stuck, delivered to one app instead of each, or read by whoever listens."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from daprlet.checker import settings
from daprlet.checker.findings import Finding
from daprlet.checker.references import components
from daprlet.checker.sources import Document, Key
from daprlet.durations import go_duration

_DEFAULT_RETRIES: Final = (
    "DefaultPubsubComponentInboundRetryPolicy",
    "DefaultComponentInboundRetryPolicy",
    "DefaultComponentRetryPolicy",
    "DefaultRetryPolicy",
)
_PER_APP: Final = ("{appID}", "{namespace}")
_PER_REPLICA: Final = ("{podName}", "{uuid}")
_RETRIES_IN_15_MINUTES: Final = 25  # of an exponential policy: 0.5 s, then 1.5 times as long each, 60 s at most
_LOSES: Final = ("pubsub.redis", "pubsub.in-memory")  # what they do with a delivery that failed
_BLOCKS: Final = ("pubsub.kafka",)


def check(documents: Sequence[Document], apps: Collection[str] | None) -> Iterator[Finding]:
    for one in components(documents, "pubsub"):
        yield from _groups(one, apps)
        yield from _retries(one, documents)
        if one.text("spec", "type") == "pubsub.kafka":
            yield from _kafka(one)
        if one.text("spec", "type") == "pubsub.redis":
            yield from _redis(one)
    for one in components(documents, "state"):
        yield from _state(one)
    for one in documents:
        if one.kind == "Resiliency":
            yield from _resiliency(one)


def unloaded(documents: Sequence[Document]) -> Iterator[Finding]:
    """Resiliency resources that daprd does not find: of each file it reads the first document only."""
    for one in documents:
        if one.kind == "Resiliency" and one.number > 1:
            problem = "stands behind other documents of its file: daprd on one host does not load it and says nothing"
            yield one.error("unloaded", ("kind",), problem, "give it a file of its own")


def _groups(document: Document, apps: Collection[str] | None) -> Iterator[Finding]:
    for name in ("consumerGroup", "consumerID"):
        text = settings.plain(document, name)
        if not text or any(one in text for one in _PER_APP):
            continue
        key = settings.key_of(document, name)
        if any(one in text for one in _PER_REPLICA):
            problem = f"metadata {name!r}: every replica is a group of its own, so each gets every event"
            yield document.warning("group", key, problem, "leave it out: the group is then the app id")
        elif len(document.sequence("scopes") or apps or ("any", "number")) > 1:
            problem = (
                f"metadata {name!r}: {text!r} makes one group of all apps: of those that subscribe to a topic, "
                "each event reaches one only"
            )
            yield document.error("group", key, problem, "leave it out: the group is then the app id; or '{appID}'")


def _retries(document: Document, documents: Sequence[Document]) -> Iterator[Finding]:
    kind, retry = document.text("spec", "type"), _inbound_retry(document.name, documents)
    at: Key = ("spec", "type")
    if retry is None:
        fix = f"add a Resiliency with an inbound retry for {document.name!r}, and dead-letter topics to subscriptions"
        if kind in _LOSES:
            problem = "no Resiliency retries its deliveries: one that fails once is acknowledged and lost"
            yield document.error("retry", at, problem, fix)
        elif kind in _BLOCKS:
            problem = (
                "no Resiliency retries its deliveries: one that fails is repeated for ever and blocks its partition, "
                "or with a dead-letter topic goes there at its first failure"
            )
            yield document.error("retry", at, problem, fix)
    for one in documents:
        if one.kind == "Subscription" and one.text("spec", "pubsubname") == document.name:
            yield from _dead_letters(one, kind, retry)


def _dead_letters(document: Document, kind: str, retry: Mapping[str, Any] | None) -> Iterator[Finding]:
    if document.text("spec", "deadLetterTopic"):
        return
    fix, at = "write deadLetterTopic", ("spec",)
    if kind in _LOSES:
        yield document.error("deadLetter", at, "has no dead-letter topic: after the last retry the event is lost", fix)
    elif kind in _BLOCKS:
        beyond = "" if retry is None else ", whatever the retry policy says,"
        problem = f"has no dead-letter topic: an event that keeps failing{beyond} blocks its partition for ever"
        yield document.error("deadLetter", at, problem, fix)


def _inbound_retry(component: str, documents: Sequence[Document]) -> Mapping[str, Any] | None:
    """The retry policy of a component's deliveries, as Dapr looks it up."""
    resiliencies = [one for one in documents if one.kind == "Resiliency"]
    policies = {
        name: one for found in resiliencies for name, one in found.mapping("spec", "policies", "retries").items()
    }
    names = [one.text("spec", "targets", "components", component, "inbound", "retry") for one in resiliencies]
    for name in (*names, *_DEFAULT_RETRIES):
        if isinstance(policies.get(name), dict):
            return dict(policies[name])
    return None


def _kafka(document: Document) -> Iterator[Finding]:
    offset = settings.plain(document, "initialOffset")
    if not offset or offset.lower() == "newest":
        problem = (
            "metadata 'initialOffset' is newest: a group that joins later, as on a new broker, misses what is there"
        )
        yield document.warning(
            "offset", settings.key_of(document, "initialOffset"), problem, "write initialOffset: oldest"
        )
    kind = settings.plain(document, "authType") or ""
    if kind.lower() == "none" and kind != "none":
        problem = f"metadata 'authType': {kind!r} is taken, but only 'none' in lower case turns TLS off"
        yield document.error("value", settings.key_of(document, "authType"), problem, "write none")
    if kind == "password" and _is_true(document, "disableTls"):
        problem = "metadata 'disableTls': user and password go over the network unencrypted (SASL_PLAINTEXT)"
        yield document.warning(
            "tls", settings.key_of(document, "disableTls"), problem, "leave it out where the broker has TLS"
        )
    if _is_true(document, "skipVerify"):
        problem = "metadata 'skipVerify': whoever answers at the broker's address is believed"
        yield document.warning("tls", settings.key_of(document, "skipVerify"), problem, "leave it out and give caCert")
    for name in ("consumeRetryEnabled",):
        if settings.plain(document, name) == "false":
            problem = f"metadata {name!r}: a delivery that fails is skipped, and lost once a later one is committed"
            yield document.error("retry", settings.key_of(document, name), problem, "leave it out")


def _redis(document: Document) -> Iterator[Finding]:
    trimming = [name for name in ("maxLenApprox", "streamTTL") if settings.plain(document, name) not in (None, "", "0")]
    for name in trimming:
        problem = f"metadata {name!r}: publishing deletes old events whether or not every group has read them"
        fix = "leave it out and trim what every group has acknowledged"
        yield document.warning("trimming", settings.key_of(document, name), problem, fix)
    for name in ("processingTimeout", "redeliverInterval"):
        if settings.plain(document, name) == "0":
            problem = f"metadata {name!r}: 0 turns redelivery off: what a sidecar had read when it died is lost"
            yield document.error("retry", settings.key_of(document, name), problem, "write a time, or leave it out")
    if _is_true(document, "insecureSkipTLSVerify"):
        problem = "metadata 'insecureSkipTLSVerify': whoever answers at the server's address is believed"
        yield document.warning("tls", settings.key_of(document, "insecureSkipTLSVerify"), problem, "leave it out")


def _state(document: Document) -> Iterator[Finding]:
    kind = document.text("spec", "type")
    if kind in ("state.sqlite", "state.sqlite3") and not settings.plain(document, "cleanupInterval"):
        problem = "metadata 'cleanupInterval' is 0: expired entries are never deleted"
        yield document.warning("cleanup", ("spec", "metadata"), problem, "write cleanupInterval: 1h")


def _resiliency(document: Document) -> Iterator[Finding]:
    for name, policy in document.mapping("spec", "policies", "retries").items():
        if isinstance(policy, dict):
            yield from _retry(document, ("spec", "policies", "retries", name), policy)
    for name, text in document.mapping("spec", "policies", "timeouts").items():
        yield from _duration(document, ("spec", "policies", "timeouts", name), text)


def _retry(document: Document, key: Key, policy: Mapping[str, Any]) -> Iterator[Finding]:
    kind = policy.get("policy", "constant")
    if kind not in ("constant", "exponential"):
        problem = f"{kind!r} is no policy: Dapr logs it and drops the whole resource"
        yield document.error("value", (*key, "policy"), problem, "write constant or exponential")
    for name in ("duration", "maxInterval"):
        if name in policy:
            yield from _duration(document, (*key, name), policy[name])
    most = policy.get("maxRetries", -1)
    if kind == "exponential" and isinstance(most, int) and (most < 0 or most > _RETRIES_IN_15_MINUTES):
        problem = "an exponential policy ends after 15 minutes, whatever maxRetries says"
        yield document.warning("retry", (*key, "policy"), problem, "write constant to retry for longer")
    elif isinstance(most, int) and most < 0:
        problem = "retries for ever: an event that keeps failing never reaches its dead-letter topic"
        yield document.warning(
            "retry", (*key, "maxRetries") if "maxRetries" in policy else key, problem, "write maxRetries"
        )


def _duration(document: Document, key: Key, text: object) -> Iterator[Finding]:
    if not isinstance(text, str):
        return  # the schema's finding
    try:
        go_duration(text)
    except ValueError as error:
        if not text.isdecimal():
            problem = f"{error}: Dapr logs it and drops the whole resource"
            yield document.error("value", key, problem, "write a duration")


def _is_true(document: Document, name: str) -> bool:
    return (settings.plain(document, name) or "").lower() in ("true", "t", "yes", "y", "on", "1")
