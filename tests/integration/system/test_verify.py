"""After everything that was done to it, the system agrees with itself."""

from tests.integration.system.conftest import Waiting
from tests.integration.system.world import World
from todo.contracts import names
from todo.operations import ports
from todo.operations.find import Place
from todo.operations.verify import verify


async def test_in_the_end_all_services_and_the_mailbox_agree(world: World, put_off: dict[str, Waiting]) -> None:
    for waiting in put_off.values():
        await waiting.person.reached(waiting.task, "delivered", seconds=100)  # tried again after a minute
    for letter in await world.letters(status="open"):
        await world.api("POST", f"/dead-letters/{letter['id']}/discard")
    sidecar = f"http://127.0.0.1:{world.system.ports[ports.sidecar(names.BACKEND.app_id)]}"
    place = Place(world.system.backend_url, sidecar, world.system.data.api_token, world.system.mailbox_url)
    report = await verify(place, wait=20)
    assert report.findings == ()
    assert report.looked_at
