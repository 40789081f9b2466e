"""A relay that is paused, as services tell it to who looks."""

import datetime as dt

import msgspec


class Pause(msgspec.Struct, frozen=True):
    """A pause in force. `quiet`: the relay that leads has seen it, and nothing is in flight."""

    until: dt.datetime  # if it is not renewed
    holder: str
    reason: str
    quiet: bool

    @property
    def text(self) -> str:
        return f"paused until {self.until:%H:%M:%S} UTC by {self.holder} ({self.reason})"
