import os
import socket
import sys
from collections.abc import Iterator

import pytest

from todo.contracts import names
from todo.operations import ports, processes


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it depends on lsof")
def test_the_owner_of_a_port_is_found(taken: int) -> None:
    assert processes.listener_on(taken) == os.getpid()


def test_a_taken_port_names_its_owner_and_the_flags_that_help(taken: int) -> None:
    with pytest.raises(ports.PortTakenError) as refused:
        ports.check({"backend": taken})
    said = str(refused.value)
    assert f"port {taken} (backend) is taken by process {os.getpid()} (" in said
    assert "--port backend=" in said
    assert "--free-ports" in said


def test_every_app_sidecar_and_mailbox_has_its_port_of_the_table() -> None:
    assert ports.defaults() == {
        "backend": 8000,
        "notification-service": 8001,
        "email-delivery": 8002,
        "recurring-service": 8003,
        "backend-dapr": 3500,
        "notification-service-dapr": 3501,
        "email-delivery-dapr": 3502,
        "recurring-service-dapr": 3503,
        "mailbox-smtp": 1025,
        "mailbox": 8025,
    }


def test_free_ports_differ_from_each_other_and_leave_the_chosen_ones() -> None:
    wanted = ports.free(1)[0]
    numbers = ports.chosen({"backend": wanted}, {"email-delivery": 3}, all_free=True)
    assert numbers["backend"] == wanted
    assert set(numbers) == set(ports.defaults()) | {
        "email-delivery-2",
        "email-delivery-2-dapr",
        "email-delivery-3",
        "email-delivery-3-dapr",
    }
    assert len(set(numbers.values())) == len(numbers)


def test_without_a_mailbox_its_ports_are_not_needed() -> None:
    assert not {"mailbox", "mailbox-smtp"} & set(ports.chosen({}, {}, all_free=True, mailbox=False))


def test_the_same_port_for_two_is_refused() -> None:
    number = ports.free(1)[0]
    with pytest.raises(ports.PortTakenError, match="the same port is given to backend and mailbox"):
        ports.check({"backend": number, "mailbox": number})


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ports.UnknownNameError, match=names.NOTIFICATION.app_id):
        ports.chosen({"backened": 8010}, {}, all_free=True)


@pytest.mark.parametrize("replicas", [{"mailbox": 2}, {"backend": 0}])
def test_only_services_have_replicas_and_at_least_one(replicas: dict[str, int]) -> None:
    with pytest.raises(ports.UnknownNameError):
        ports.chosen({}, replicas, all_free=True)
