from todo.operations.doctor.findings import EXPLAINS, TABLE, Code, found, unexplained


def test_every_code_is_explained() -> None:
    """Each code has its line, and each line says something of everything."""
    assert set(TABLE) == set(Code)
    assert all(all(one) for one in TABLE.values())


def test_no_cause_explains_itself_away() -> None:
    """Causes that explain each other in a circle would all be gone."""
    for cause in EXPLAINS:
        reached: set[Code] = set()
        left = set(EXPLAINS[cause])
        while left:
            reached |= left
            left = {effect for one in left for effect in EXPLAINS.get(one, ())} - reached
        assert cause not in reached, cause


def test_what_a_cause_explains_is_not_told_again() -> None:
    away = found(Code.SIDECAR_AWAY, "backend-1", "away", app="backend")
    follows = found(Code.OUTBOX_WAITING, "backend", "waits", app="backend")
    of_another = found(Code.OUTBOX_WAITING, "notification-service", "waits", app="notification-service")
    assert unexplained([follows, of_another, away, away]) == [away, of_another]
    everywhere = found(Code.DATABASE_AWAY, "database", "away")
    assert unexplained([follows, of_another, everywhere]) == [everywhere]
