"""`todo doctor` on a running system of a test, in this process."""

from pathlib import Path

import aiohttp

from todo.contracts.clock import Clock, utc_now
from todo.operations.doctor import Code, Finding, HostPatient, Report, examine

WATCH = 1.0  # between two looks, where nothing has to be tried again meanwhile


async def report(data: Path, *, clock: Clock = utc_now, watch: float = WATCH) -> Report:
    async with aiohttp.ClientSession() as http:
        return await examine(HostPatient(data, http, clock), watch=watch)


async def findings(data: Path, *, watch: float = WATCH) -> list[Finding]:
    return list((await report(data, watch=watch)).findings)


def named(found: Report) -> set[Code]:
    return {one.code for one in found.findings}
