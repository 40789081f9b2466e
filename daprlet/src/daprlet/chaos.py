"""Hostile on purpose: what a broker may do to a subscriber, done often and reproducibly.

Decisions depend on the seed, the subscription, the message and how often it was handed over; for a batch its first
message counts, and what is in a batch depends on timing. Every fault is one that at-least-once delivery allows, and
none of them uses up an attempt of the retry policy.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from daprlet.app_channel import AppChannel
from daprlet.delivery import Attempt, Outcome, Verdict, Verdicts, attempt
from daprlet.log import Message
from daprlet.subscriptions import Subscription

LOST_BEFORE: Final = 0.05  # the delivery fails before it reaches the app
LOST_AFTER: Final = 0.05  # the app handles it, but its answer is lost: it comes again
DUPLICATED: Final = 0.10  # delivered twice, half of these at the same time
DELAYED: Final = 0.10  # held back, so that later ones overtake it
LONGEST_DELAY: Final = 2.0  # seconds
SHUFFLED: Final = 0.25  # a bulk delivery whose entries are in another order
_REMEMBERED: Final = (
    100_000  # deliveries whose count is kept; beyond it counts begin anew, which only repeats decisions
)

_LOST: Final = Verdict(Outcome.UNCOUNTED, "chaos")


class Chaos:
    """An `Attempt` that goes wrong now and then."""

    def __init__(self, seed: int, inner: Attempt = attempt) -> None:
        self._seed = seed
        self._inner = inner
        self._handed_over: Counter[tuple[str, str, int]] = Counter()

    async def __call__(
        self,
        channel: AppChannel,
        subscription: Subscription,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - passed on
    ) -> Verdicts:
        dice = self._dice(channel.settings.app_id, subscription, messages[0])
        if dice.random() < DELAYED:
            await asyncio.sleep(dice.uniform(0, LONGEST_DELAY))
        if dice.random() < LOST_BEFORE:
            return {message.id: _LOST for message in messages}
        order = list(messages)
        if dice.random() < SHUFFLED:
            dice.shuffle(order)
        verdicts = await self._deliver(dice, channel, subscription, order, timeout)
        return {message.id: _LOST for message in messages} if dice.random() < LOST_AFTER else verdicts

    async def _deliver(
        self,
        dice: random.Random,
        channel: AppChannel,
        subscription: Subscription,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - passed on
    ) -> Verdicts:
        duplicated, together = dice.random() < DUPLICATED, dice.random() < 0.5  # noqa: PLR2004 - even odds
        if duplicated and together:
            pair = (self._inner(channel, subscription, messages, timeout) for _ in range(2))
            verdicts, _ = await asyncio.gather(*pair)
            return verdicts
        if duplicated:
            await self._inner(channel, subscription, messages, timeout)
        return await self._inner(channel, subscription, messages, timeout)

    def _dice(self, app_id: str, subscription: Subscription, message: Message) -> random.Random:
        key = (app_id, subscription.topic, message.id)
        if len(self._handed_over) > _REMEMBERED:
            self._handed_over.clear()
        self._handed_over[key] += 1
        text = f"{self._seed}/{app_id}/{subscription.pubsub}/{subscription.topic}/{message.id}/{self._handed_over[key]}"
        return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - reproducible on purpose
