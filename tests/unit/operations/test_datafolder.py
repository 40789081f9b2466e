import os
import stat
from pathlib import Path

import pytest

from todo.operations import datafolder
from todo.operations.datafolder import AlreadyRunningError, DataFolder, RunningSystem, Settings


def mode(place: Path) -> int:
    return stat.S_IMODE(place.stat().st_mode)


def test_the_folder_and_what_is_secret_in_it_are_the_owners_alone(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as data:
        data.announce(RunningSystem(os.getpid(), {}, "postgresql://"))
        assert data.api_token != data.app_token("backend") != data.app_token("email-delivery")
    assert mode(tmp_path / "data") == 0o700
    for place in (tmp_path / "data" / "tokens").iterdir():
        assert mode(place) == 0o600


def test_tokens_are_made_once_and_kept(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as data:
        first = data.api_token
    with DataFolder(tmp_path) as data:
        assert data.api_token == first
        assert len(first) >= 32


def test_a_second_start_is_told_who_runs_and_where(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as data:
        data.announce(RunningSystem(os.getpid(), {"backend": "http://127.0.0.1:8000"}, "postgresql://"))
        with (
            pytest.raises(AlreadyRunningError, match=rf"\(pid {os.getpid()} at http://127.0.0.1:8000\)"),
            DataFolder(tmp_path),
        ):
            pass
    with DataFolder(tmp_path):
        pass


def test_a_second_start_is_told_the_pid_even_before_the_first_says_where_it_is(tmp_path: Path) -> None:
    with DataFolder(tmp_path), pytest.raises(AlreadyRunningError, match=rf"pid {os.getpid()}"), DataFolder(tmp_path):
        pass


def test_the_running_system_is_found_only_while_it_runs(tmp_path: Path) -> None:
    running = RunningSystem(os.getpid(), {"backend": "http://127.0.0.1:8000"}, "postgresql://")
    with DataFolder(tmp_path) as data:
        assert datafolder.running_system(tmp_path) is None
        data.announce(running)
        assert datafolder.running_system(tmp_path) == running
    assert datafolder.running_system(tmp_path) is None


def test_what_a_killed_system_left_behind_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as data:
        data.announce(RunningSystem(os.getpid(), {}, "postgresql://"))
        left = (tmp_path / "run.json").read_bytes()
    (tmp_path / "run.json").write_bytes(left)
    assert datafolder.running_system(tmp_path) is None


def test_settings_are_kept(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as data:
        assert data.settings() == Settings()
        data.save(Settings(email="you@example.org"))
        assert data.settings() == Settings(email="you@example.org")


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as data:
        (tmp_path / "settings.json").write_text("{")
        with pytest.raises(datafolder.DataFolderError, match=r"settings\.json cannot be read"):
            data.settings()
