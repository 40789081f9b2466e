"""What the source must not contain, whoever writes it. Each rule says what to do instead."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "todo"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in FILES}
SERVICES = ("backend", "notification", "email_delivery", "recurring")

UNITS = {"messaging/unit.py"}
PUBLISHERS = {"messaging/relay.py", "messaging/direct.py"}
CLOCKS = {"contracts/clock.py"}
# Where holder and relay, on different machines, must be judged by one clock.
DATABASE_CLOCKS = {"messaging/pause.py", "messaging/outbox.py"}
TRANSACTION_WORDS = ("BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION", "SAVEPOINT")
# Where catching everything is the job: what was caught is kept and answered for, not dropped.
CATCHERS = {
    "messaging/consumer.py": {"_process", "_try"},  # the batch is taken one by one; an event gets its letter
    "email_delivery/coalesce.py": {"_answers"},  # handed to whoever waits for the answer
    "messaging/relay.py": {"_session"},  # closing a connection that may be dead already
    "service/jobs.py": {"_look_regardless"},  # logged; the next look comes anyway
}

Rule = Callable[[str, ast.AST], str | None]


def broken(rule: Rule, names: Iterator[str] | None = None) -> list[str]:
    """Every place that breaks a rule, as file:line: why."""
    return [
        f"{name}:{getattr(node, 'lineno', 0)}: {why}"
        for name in names or TREES
        for node in ast.walk(TREES[name])
        if (why := rule(name, node))
    ]


def called(node: ast.AST) -> str:
    """The name of what a call calls, without what it is called on."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def functions_of(name: str) -> Iterator[tuple[ast.AST, str]]:
    """Every node with the innermost function that holds it."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            yield child, inner
            yield from walk(child, inner)

    return walk(TREES[name], "")


def test_only_the_unit_of_work_begins_and_ends_transactions() -> None:
    def rule(name: str, node: ast.AST) -> str | None:
        if name in UNITS:
            return None
        if called(node) in {"commit", "rollback"}:
            return "a transaction is `async with database.transaction()`"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value.strip().rstrip(";").upper()
            return f"{word} belongs to the unit of work" if word in TRANSACTION_WORDS else None
        return None

    assert broken(rule, services_and_messaging()) == []


def test_a_services_transactions_are_units_of_work() -> None:
    """`connection.transaction()` is a part of one, and that is `unit.isolated()`."""

    def rule(name: str, node: ast.AST) -> str | None:
        if name in UNITS or called(node) != "transaction" or not isinstance(node, ast.Call):
            return None
        on = node.func.value if isinstance(node.func, ast.Attribute) else None
        receiver = getattr(on, "attr", getattr(on, "id", ""))
        return None if receiver.endswith("database") else f"{receiver}.transaction(): use the unit of work"

    assert broken(rule, services_and_messaging()) == []


def test_only_the_relay_and_the_unit_without_a_database_publish() -> None:
    def rule(name: str, node: ast.AST) -> str | None:
        publishes = called(node) in {"publish", "publish_all", "publish_event", "publish_events"}
        return "emit in the unit of work instead" if publishes and name not in PUBLISHERS else None

    assert broken(rule, iter(one for one in TREES if not one.startswith(("dapr/", "operations/", "cli/")))) == []


def test_no_time_is_naive() -> None:
    def rule(_: str, node: ast.AST) -> str | None:
        name = called(node)
        if name in {"utcnow", "utcfromtimestamp", "today"}:
            return f"{name}() is naive"
        if name in {"now", "fromtimestamp"} and isinstance(node, ast.Call):
            zones = len(node.args) + len(node.keywords) - (name == "fromtimestamp")
            receiver = ast.unparse(node.func)
            return f"{receiver}() is naive" if "datetime" in receiver and zones < 1 else None
        return None

    assert broken(rule) == []


def test_nothing_waits_in_a_way_that_can_swallow_a_cancellation() -> None:
    """Before Python 3.12 `wait_for` returns normally when it is cancelled as its result arrives."""

    def rule(_: str, node: ast.AST) -> str | None:
        return "use `async with asyncio.timeout(...)`" if called(node) == "wait_for" else None

    assert broken(rule) == []


def test_services_have_no_clock_but_the_one_they_are_given() -> None:
    def rule(name: str, node: ast.AST) -> str | None:
        if name in CLOCKS or not isinstance(node, ast.Call):
            return None
        reads = ast.unparse(node.func) in {"datetime.now", "dt.datetime.now", "datetime.datetime.now", "time.time"}
        return "take the injected clock" if reads else None

    assert broken(rule, services_and_messaging()) == []


def test_no_statement_reads_the_databases_clock() -> None:
    def rule(name: str, node: ast.AST) -> str | None:
        if name in DATABASE_CLOCKS or not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return None
        text = node.value.lower()
        read = any(word in text for word in (" now()", "(now()", "current_timestamp", "clock_timestamp()"))
        return "pass $now" if read else None

    assert broken(rule, services_and_messaging()) == []


def test_whoever_catches_everything_raises_or_answers_for_it() -> None:
    found = []
    for name in TREES:
        for node, function in functions_of(name):
            if function in CATCHERS.get(name, set()):
                continue
            if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises(node):
                found.append(f"{name}:{node.lineno}: `except Exception` in {function}() swallows")
            if called(node) == "suppress" and any(_is_broad(argument) for argument in _arguments(node)):
                found.append(f"{name}:{getattr(node, 'lineno', 0)}: suppress(Exception) in {function}()")
    assert found == []


def _arguments(node: ast.AST) -> list[ast.expr]:
    return node.args if isinstance(node, ast.Call) else []


def _is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"} for one in kinds)


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))


def test_no_service_decides_by_the_engine_it_runs_on() -> None:
    def rule(_: str, node: ast.AST) -> str | None:
        return "use_dapr: services always speak Dapr's API" if getattr(node, "id", "") == "use_dapr" else None

    assert broken(rule) == []


def services_and_messaging() -> Iterator[str]:
    return iter(name for name in TREES if name.startswith((*SERVICES, "messaging", "service", "domain")))


@pytest.mark.parametrize("service", SERVICES)
def test_rules_import_nothing_that_does_io_and_handlers_no_http(service: str) -> None:
    """Handlers receive what they need: no HTTP framework and no client of their own."""
    tree = TREES.get(f"{service}/handlers.py")
    assert tree is not None, f"{service} has no handlers.py"
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {one for one in imported if one.split(".")[0] in {"aiohttp", "fastapi", "starlette", "uvicorn"}}


def test_imports_point_one_way() -> None:
    """The contracts of import-linter, in pyproject.toml, hold."""
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


PLANTED = {
    test_only_the_unit_of_work_begins_and_ends_transactions: "async def f(c): await c.execute('begin'); c.commit()",
    test_a_services_transactions_are_units_of_work: "def f(unit): unit.connection.transaction()",
    test_only_the_relay_and_the_unit_without_a_database_publish: "def f(dapr): dapr.publish()",
    test_no_time_is_naive: "import datetime as dt\nx = dt.datetime.now()",
    test_nothing_waits_in_a_way_that_can_swallow_a_cancellation: "async def f(g): await asyncio.wait_for(g(), 1)",
    test_services_have_no_clock_but_the_one_they_are_given: "import datetime as dt\nx = dt.datetime.now(dt.UTC)",
    test_no_statement_reads_the_databases_clock: "X = 'UPDATE t SET a = now()'",
    test_whoever_catches_everything_raises_or_answers_for_it: "def f():\n  try: g()\n  except Exception: return None",
}


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: str(rule.__name__))
def test_each_rule_finds_what_it_is_for(rule: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TREES, "backend/planted.py", ast.parse(PLANTED[rule]))
    with pytest.raises(AssertionError, match=r"planted\.py"):
        rule()
