"""Whose fault a failure is: the environment's (keep the event, try again) or its own (three tries, then park)."""

import asyncio
from typing import Final

import asyncpg

from todo.dapr.errors import SidecarAwayError
from todo.dapr.subscriber import UnavailableError

_ENVIRONMENT: Final = (
    UnavailableError,
    SidecarAwayError,
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke between two messages of the protocol
    asyncpg.PostgresConnectionError,  # 08xxx
    asyncpg.InsufficientResourcesError,  # 53xxx: disk full, out of memory, too many connections
    asyncpg.OperatorInterventionError,  # 57xxx: shutting down, starting up, cancelled, terminated
    asyncpg.PostgresSystemError,  # 58xxx: I/O errors
    asyncpg.TransactionRollbackError,  # 40xxx: deadlock, serialisation
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,  # this process was frozen inside a transaction
    asyncpg.ReadOnlySQLTransactionError,  # a failover is under way
    asyncpg.UndefinedTableError,  # not migrated yet
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,  # 28xxx: a password that is being rotated
    asyncpg.InvalidCatalogNameError,  # the database is not there yet
    asyncpg.InvalidCachedStatementError,  # a migration ran under a connection
    asyncpg.InternalServerError,  # XXxxx
    asyncpg.ObjectNotInPrerequisiteStateError,  # it is a standby, a failover is under way
)


def is_environment(error: BaseException) -> bool:
    """Whether trying again later, unchanged, may succeed."""
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return False  # asyncpg's DataError: an argument that no database would take
    return isinstance(error, _ENVIRONMENT)
