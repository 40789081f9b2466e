"""What can be wrong with a cluster, or with what is asked of it."""

from enum import StrEnum


class Fault(StrEnum):
    """What is wrong, apart from the words; stable, for programs."""

    SETTING = "setting"  # no credentials, or ones that cannot be read
    AWAY = "away"  # nobody answers
    CREDENTIALS = "credentials"  # the API server does not know who asks
    FORBIDDEN = "forbidden"  # it knows, and says no
    ABSENT = "absent"  # there is no such object
    CONFLICT = "conflict"  # the object changed meanwhile, or is there already
    REFUSED = "refused"  # what was asked cannot be done; the API server says why


class ClusterError(Exception):
    """The cluster cannot do what was asked. One line: what, why, and what to do; never a secret's value."""

    def __init__(self, fault: Fault, message: str) -> None:
        self.fault = fault
        super().__init__(message)
