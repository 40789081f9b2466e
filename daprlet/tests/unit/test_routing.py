import pytest

from daprlet.routing import RuleError, UndecidableError, compile_rule

EVENT = {"type": "a.v1", "source": "x", "data": {"kind": "big", "n": 3, "ok": True, "none": None}}


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ('event.type == "a.v1"', True),
        ("event.type != 'a.v1'", False),
        ('event.type == "b" || event.data.kind == "big"', True),
        ('event.type == "a.v1" && event.data.n == 3', True),
        ('event.type in ["b", "a.v1"]', True),
        ('!(event.type == "b") && event.data.ok', True),
        ("event.data.ok == 1", False),
        ("event.data.none == null", True),
        ('event.type == "b" && event.data.missing == 1', False),
        ('event.data.missing == 1 || event.type == "a.v1"', True),
        (r'event.source == "\"x"', False),
    ],
)
def test_rules(rule: str, matches: bool) -> None:
    """The part of CEL that is supported means what CEL means."""
    assert compile_rule(rule)(EVENT) is matches


@pytest.mark.parametrize("rule", ["event.data.missing == 1", "event.type.deeper == 1", "!event.data.missing"])
def test_a_missing_field_is_an_error(rule: str) -> None:
    """Not a mismatch: such an event must not silently take the default route."""
    with pytest.raises(UndecidableError):
        compile_rule(rule)(EVENT)


@pytest.mark.parametrize(
    "rule",
    [
        *("", "event", "type == 'x'", "event.type = 'x'", "event.type.startsWith('x')", "event.type in 'x'"),
        *("size(event.type) > 3", "(event.type == 'x'", "event.type == 'x' event.type == 'y'", "event.type =="),
    ],
)
def test_the_rest_of_cel_is_refused(rule: str) -> None:
    """When the rule is read, not when an event comes."""
    with pytest.raises(RuleError):
        compile_rule(rule)
