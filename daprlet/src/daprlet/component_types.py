"""The component types daprlet hosts, the metadata each understands, and how a value is read."""

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from daprlet.checker import Catalog, of_host
from daprlet.durations import go_duration

Check = Callable[[str], object]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    """A duration, or as in Dapr's components a bare number of milliseconds."""
    return int(text) / 1000 if text.isdecimal() else go_duration(text)


_SIZES: Final = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def _bytes(text: str) -> int:
    number, unit = (text[:-2], text[-2:]) if text[-2:] in _SIZES else (text, "")
    if not number.isdecimal():
        raise ValueError(f"{text!r} is not a size such as 1048576, 64Mi or 1Gi")
    return int(number) * _SIZES.get(unit, 1)


_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def _table(text: str) -> str:
    if text and not _TABLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain name")
    return text


def _topics(text: str) -> frozenset[str]:
    return frozenset(topic.strip() for topic in text.split(",") if topic.strip())


def _topics_by_app(text: str) -> dict[str, frozenset[str]]:
    """Read `app1=t1,t2;app2=`."""
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    return {app.strip(): _topics(topics) for app, _, topics in parts}


TYPES: Final[dict[str, dict[str, Check]]] = {
    "pubsub.sqlite": {
        "concurrency": _count,
        "bulkConcurrency": _count,
        "processingTimeout": _seconds,
        "redeliverInterval": _seconds,
        "acknowledgedMaxAge": _seconds,
        "acknowledgedMaxBytes": _bytes,
        "unreadMaxAge": _seconds,
        "unreadMaxBytes": _bytes,
        "allowedTopics": _topics,
        "protectedTopics": _topics,
        "publishingScopes": _topics_by_app,
        "subscriptionScopes": _topics_by_app,
    },
    "state.sqlite": {
        "connectionString": str,
        "tableName": _table,
        "cleanupInterval": _seconds,
        "keyPrefix": str,
    },
    "secretstores.local.file": {"secretsFile": str, "nestedSeparator": str, "multiValued": _flag},
    "secretstores.local.env": {"prefix": str},
}

REQUIRED: Final = {"secretstores.local.file": "secretsFile"}

KINDS: Final = {
    "Component": ("dapr.io/v1alpha1",),
    "Subscription": ("dapr.io/v2alpha1", "dapr.io/v1alpha1"),
    "Resiliency": ("dapr.io/v1alpha1",),
    "Configuration": ("dapr.io/v1alpha1",),
}


@cache
def catalog() -> Catalog:
    """What the checker needs to know of this host."""
    return of_host(
        "daprlet", TYPES, required=REQUIRED, other_names={"state.sqlite": {"url": "connectionString"}}, kinds=KINDS
    )
