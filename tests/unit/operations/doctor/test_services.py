from dataclasses import replace

import pytest

from tests.unit.operations.doctor.shapes import codes, found, healthy, replica, with_replica
from todo.contracts import names
from todo.contracts.mail import MailCheck, MailFault
from todo.operations.doctor.findings import Code
from todo.operations.doctor.seen import Database, Reading, Refusal, Service

NOTIFICATION, EMAIL = names.NOTIFICATION, names.EMAIL_DELIVERY


def test_a_healthy_system_has_no_finding() -> None:
    assert not found(healthy())


def test_a_subscription_that_is_missing() -> None:
    """Told by name, with what the sidecar has instead."""
    one = replica(NOTIFICATION)
    assert one.sidecar is not None
    assert one.sidecar.metadata is not None
    fewer = {**one.sidecar.metadata, "subscriptions": one.sidecar.metadata["subscriptions"][:1]}
    (finding,) = found(with_replica(replica(NOTIFICATION, metadata=fewer)))
    assert finding.code is Code.SUBSCRIPTION_MISSING
    assert finding.what == "notification-service is not subscribed to reminder-deliveries"
    assert finding.evidence == ("its sidecar's metadata lists task-events",)


def test_no_scheduler_explains_jobs_that_are_not_registered() -> None:
    one = replica(NOTIFICATION)
    assert one.sidecar is not None
    alone = {**(one.sidecar.metadata or {}), "scheduler": {}}
    changed = replica(NOTIFICATION, metadata=alone, jobs={"check-due-tasks": None}, waits="scheduler-watch-hosts")
    assert codes(with_replica(changed)) == [Code.SCHEDULER_AWAY]


def test_a_sidecar_that_takes_another_token() -> None:
    assert codes(with_replica(replica(EMAIL, metadata=None, refused_token=True))) == [Code.API_TOKEN_REFUSED]


def test_a_sidecar_that_is_not_ready_says_what_it_waits_for() -> None:
    (finding,) = found(with_replica(replica(EMAIL, waits="dapr is not ready: [grpc-api-server]")))
    assert finding.code is Code.SIDECAR_NOT_READY
    assert "grpc-api-server" in finding.evidence[0]


def test_a_database_that_only_services_can_see() -> None:
    """From a laptop their probes are all there is."""
    one = replace(replica(NOTIFICATION), service=Service(failed={"database": "ConnectionRefusedError"}))
    (finding,) = found(with_replica(one))
    assert finding.code is Code.DATABASE_AWAY
    assert "ConnectionRefusedError" in finding.evidence[0]


def test_a_login_that_is_refused_is_told_for_whom() -> None:
    refused = Database(refusals=[Refusal("the state store", "InvalidPasswordError: no", is_login=True)])
    (finding,) = found(healthy(database=refused))
    assert (finding.code, finding.subject) == (Code.DATABASE_LOGIN, "the state store")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (MailFault.AWAY, Code.MAIL_SERVER_AWAY),
        (MailFault.ENCRYPTION, Code.MAIL_SERVER_TLS),
        (MailFault.LOGIN, Code.MAIL_SERVER_LOGIN),
    ],
)
def test_a_mail_server_that_refuses(fault: MailFault, code: Code) -> None:
    (finding,) = found(healthy(mail=MailCheck("mail.example.org:587", fault, "no")))
    assert (finding.code, finding.subject) == (code, "mail.example.org:587")


def clocks(database: float, *services: float, blur: float = 0.5) -> list[str]:
    replicas = [
        replace(replica(app), service=Service(clock=Reading(ahead, blur)))
        for app, ahead in zip(names.APPS, services, strict=True)
    ]
    seen = healthy(replicas=replicas, database=Database(clock=Reading(database, 0.01)))
    return [one.subject for one in found(seen) if one.code is Code.CLOCK_SKEW]


def test_the_clock_that_is_off_is_named() -> None:
    """The one that differs from the middle of all; an answer that took long proves nothing."""
    assert not clocks(0.3, 0.1, -0.4, 0.2, 0.0)
    assert clocks(60, 0, 0, 0, 0) == ["the database"]
    assert clocks(0, 0, 0, -9, 0) == ["email-delivery"]
    assert clocks(30, 30, 30, 30, 30) == ["this machine"]
    assert not clocks(0, 0, 0, -9, 0, blur=8)
