"""daprlet is small: that is why it can be there by default."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp

from .test_host import COMPONENTS, free_port

MOST = 60 * 1024  # kB


async def test_four_sidecars_need_less_than_60_mb(tmp_path: Path) -> None:
    """After their start and some work, of resident memory."""
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "components.yaml").write_text(COMPONENTS)
    ports = [free_port() for _ in range(4)]
    apps = [{"appID": f"app-{n}", "daprHTTPPort": port} for n, port in enumerate(ports)]
    run = {"version": 1, "common": {"resourcesPaths": ["resources"]}, "apps": apps}
    (tmp_path / "dapr.yaml").write_text(json.dumps(run))
    command = [sys.executable, "-m", "daprlet", "run", "-f", str(tmp_path / "dapr.yaml"), "--data-path", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(30):
            for port in ports:
                await answered(client, f"http://127.0.0.1:{port}/v1.0/healthz")
            for number in range(200):
                await client.post(f"http://127.0.0.1:{ports[0]}/v1.0/publish/bus/t", json={"n": number})
        assert await resident(process.pid) < MOST
    finally:
        process.terminate()
        await process.wait()


async def answered(client: aiohttp.ClientSession, address: str) -> None:
    while True:
        try:
            (await client.get(address)).raise_for_status()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.01)
        else:
            return


async def resident(pid: int) -> int:
    """Kilobytes."""
    asked = await asyncio.create_subprocess_exec("ps", "-o", "rss=", "-p", str(pid), stdout=asyncio.subprocess.PIPE)
    told, _ = await asked.communicate()
    return int(told)
