import asyncpg
import pytest

from todo.dapr.errors import CallRefusedError, SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.messaging.failures import is_environment


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("backend is away"),
        SidecarAwayError("refused"),
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.SerializationError(),
        asyncpg.DiskFullError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.QueryCanceledError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.UndefinedTableError(),
        asyncpg.InsufficientPrivilegeError(),
        asyncpg.InvalidPasswordError(),
        asyncpg.InvalidAuthorizationSpecificationError(),
        asyncpg.InvalidCatalogNameError(),
        asyncpg.InvalidCachedStatementError(),
        asyncpg.InternalServerError(),
        asyncpg.ObjectNotInPrerequisiteStateError("recovery is in progress"),
    ],
)
def test_the_environments_failures_are_tried_again(error: Exception) -> None:
    assert is_environment(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no date"),
        KeyError("field"),
        CallRefusedError(400, "", "bad"),
        asyncpg.DataError("value out of int32 range"),
        asyncpg.UniqueViolationError(),
        asyncpg.CharacterNotInRepertoireError(),
        asyncpg.ProgramLimitExceededError(),
        asyncpg.ForeignKeyViolationError(),
    ],
)
def test_an_events_own_failures_are_not(error: Exception) -> None:
    assert not is_environment(error)
