import os
from pathlib import Path

from todo.operations import datafolder
from todo.operations.datafolder import DataFolder, RunningSystem
from todo.operations.find import find

ADDRESSES = {
    "backend": "http://127.0.0.1:21000",
    "daprlet": "http://127.0.0.1:21001",
    "mailbox": "http://127.0.0.1:21002",
}


def test_the_system_that_runs_on_the_data_folder_is_found_with_its_token(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.announce(RunningSystem(os.getpid(), ADDRESSES, "postgresql://x"))
        token = folder.api_token
        place = find(data=tmp_path, environ={})
    assert (place.api, place.sidecar, place.mailbox) == tuple(ADDRESSES.values())
    assert place.token == token


def test_what_a_killed_system_left_behind_is_not_used(tmp_path: Path) -> None:
    datafolder.write_secret(
        tmp_path / "run.json", b'{"pid": 1, "addresses": {"backend": "http://x"}, "database_url": ""}'
    )
    assert find(data=tmp_path, environ={}).api == "http://127.0.0.1:8000"


def test_a_named_api_wins_and_has_nothing_of_the_local_system(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.announce(RunningSystem(os.getpid(), ADDRESSES, "postgresql://x"))
        place = find("http://tasks.example.org/", tmp_path, {"DAPR_HTTP_PORT": "3999", "DAPR_API_TOKEN": "t"})
    assert place.api == "http://tasks.example.org"
    assert (place.sidecar, place.token, place.mailbox) == ("http://127.0.0.1:3999", "t", None)


def test_naming_the_local_api_finds_the_rest_of_it(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.announce(RunningSystem(os.getpid(), ADDRESSES, "postgresql://x"))
        assert find(data=tmp_path, environ={"TODO_API": ADDRESSES["backend"]}).mailbox == ADDRESSES["mailbox"]
