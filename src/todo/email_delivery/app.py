"""The composition root of email-delivery."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette

from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.dapr import client
from todo.dapr.client import Dapr
from todo.dapr.subscriber import Subscription
from todo.email_delivery.backend import Backend
from todo.email_delivery.checking import checking
from todo.email_delivery.claims import Claims
from todo.email_delivery.handlers import ReminderMails, park
from todo.email_delivery.inspection import inspection
from todo.email_delivery.letter import Letters
from todo.email_delivery.mailer import Mailer
from todo.email_delivery.settings import MailSettings
from todo.messaging.consumer import Consumer, Sightings
from todo.messaging.direct import direct_unit
from todo.messaging.state_sightings import StateSightings
from todo.messaging.unit import DirectUnit
from todo.service import kit
from todo.service.kit import Parts
from todo.service.settings import Settings

APP = names.EMAIL_DELIVERY


def create(settings: Settings, mail: MailSettings) -> Starlette:
    return kit.create_app(settings, partial(compose, mail))


@asynccontextmanager
async def compose(mail: MailSettings, settings: Settings) -> AsyncIterator[Parts]:
    """Nothing here waits for the sidecar, the mail server or backend: whatever is away is met by the first event."""
    async with client.connect(settings.sidecar, settings.dapr_token) as dapr:
        sightings = StateSightings(dapr, names.STATE_STORE, settings.instance, utc_now)
        mailer = Mailer(mail.server, mail.connections)
        claims = Claims(dapr, names.STATE_STORE, utc_now)
        mails = ReminderMails(Backend(dapr, utc_now), claims, mailer, Letters(mail.sender, utc_now), utc_now)
        try:
            yield Parts(
                dapr,
                _subscriptions(_consumer(dapr, mails, sightings)),
                internal=[inspection(claims), checking(mail.server)],
                wind_down=mailer.wind_down,
            )
        finally:
            await mailer.close()
        await sightings.stop()


def _consumer(dapr: Dapr, mails: ReminderMails, sightings: Sightings) -> Consumer[DirectUnit]:
    return Consumer(
        APP.app_id,
        {names.TASK_REMINDERS: mails.reminder_due},
        scope=lambda: direct_unit(dapr, names.PUBSUB),
        park=park,
        sightings=sightings,
        clock=utc_now,
    )


def _subscriptions(consumer: Consumer[DirectUnit]) -> list[Subscription]:
    return [
        Subscription(topic, partial(consumer.deliver, topic), names.dead_letter_topic(APP.app_id, topic))
        for topic in APP.topics
    ]
