"""`todo token`, `identity`, `session` and `user password` beside a running system: they need its data folder."""

import os
from pathlib import Path

from tests.integration.cli.conftest import Result, Running, todo

ISSUER = "https://id.example.org"


def test_a_token_is_made_shown_once_listed_and_revoked(system: Running) -> None:
    made = system.ok("token", "add", "--user", "1", "--name", "laptop", "--scope", "operator", "--days", "9")
    assert (made["user_id"], made["name"], made["scopes"]) == (1, "laptop", ["operator"])
    assert made["token"].startswith("todo_")
    listed = {one["id"]: one for one in system.ok("token", "list")}[made["id"]]
    assert listed["expires_at"] == made["expires_at"]
    assert "token" not in listed
    assert made["token"][9:] not in system("token", "list").out
    assert system.ok("token", "revoke", str(made["id"]))["revoked_at"] is not None
    assert "revoked 20" in next(line for line in system("token", "list").out.splitlines() if "laptop" in line)


def test_a_token_is_for_its_users_own_tasks_and_without_end_unless_it_is_said(system: Running) -> None:
    made = system.ok("token", "add", "--user", "1")
    assert (made["scopes"], made["expires_at"]) == (["tasks:read", "tasks:write"], None)
    for_a_person = system("token", "add", "--user", "1").out
    assert "tasks:read, tasks:write" in for_a_person
    assert "todo_" in for_a_person


def test_an_identity_is_linked_changed_listed_and_removed(system: Running) -> None:
    subject = f"somebody-{os.urandom(4).hex()}"
    issuer = ("--issuer", ISSUER)
    system.ok("identity", "add", subject, "--user", "1", *issuer)
    changed = system.ok("identity", "add", subject, "--user", "1", "--scope", "operator", *issuer)
    assert changed in system.ok("identity", "list")
    assert changed["scopes"] == ["operator"]
    user = system.ok("user", "add", f"{subject}@example.org")["id"]
    taken = system("identity", "add", subject, "--user", str(user), *issuer)
    assert (taken.code, taken.err.count("\n")) == (1, 1)
    assert system("identity", "remove", subject, TODO_OIDC_ISSUER=ISSUER).code == 0
    assert system("identity", "remove", subject, *issuer).code == 1
    assert subject not in system("identity", "list").out


def test_what_cannot_be_is_one_line(system: Running) -> None:
    for arguments in (
        ("token", "add", "--user", "987654321"),
        ("token", "add", "--user", "1", "--name", ""),
        ("token", "add", "--user", "1", "--name", "a\nb"),
        ("token", "revoke", "987654321"),
        ("identity", "add", "x" * 300, "--user", "1", "--issuer", ISSUER),
        ("identity", "add", "x", "--user", "987654321", "--issuer", ISSUER),
    ):
        refused = system(*arguments)
        assert (refused.code, refused.err.count("\n")) == (1, 1), refused
    assert system("token", "add", "--user", "1", "--scope", "root").code == 2


def test_without_a_system_it_says_where_to_find_one(tmp_path: Path) -> None:
    for environ in ({}, {"DATABASE_URL": "todo"}, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}):
        refused = todo("token", "list", data=tmp_path, **environ)
        assert (refused.code, refused.err.count("\n")) == (3, 1), refused


def test_a_password_comes_from_standard_input_and_is_shown_nowhere(system: Running) -> None:
    user = system.ok("user", "add", f"{os.urandom(4).hex()}@example.org")["id"]

    def set_password(*more: str, typed: str = "correct horse battery\n") -> Result:
        return todo("user", "password", str(user), *more, data=system.data, typed=typed)

    first = set_password("--json")
    assert (first.code, first.json["scopes"], first.json["ended"]) == (0, ["tasks:read", "tasks:write"], 0)
    assert "correct" not in first.out + first.err
    assert "operator" in set_password("--scope", "operator").out
    assert set_password("--json").json["scopes"] == ["operator"]
    for typed in ("", "\n", "too short\n", "x" * 5000):
        refused = set_password(typed=typed)
        assert (refused.code, refused.err.count("\n")) == (1, 1), refused
        assert "12 to 256 characters" in refused.err
    assert set_password("correct horse battery").code == 2
    assert set_password("--remove").code == 0
    assert set_password("--remove").code == 1
    assert todo("user", "password", "987654321", data=system.data, typed="correct horse battery\n").code == 1


def test_nobody_is_signed_in_where_nobody_can_be(system: Running) -> None:
    assert system.ok("session", "list") == []
    assert "nobody" in system("session", "list", "--user", "1").out
    refused = system("session", "end", "987654321")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
