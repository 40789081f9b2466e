class DaprError(Exception):
    """A call to the sidecar did not do what was asked."""


class SidecarAwayError(DaprError):
    """Nothing usable answered: refused, timed out, 5xx, or a component not loaded (yet). Trying again may help."""


class CallRefusedError(DaprError):
    """The sidecar understood and said no. Trying the same again will not help."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status = status
        self.code = code
