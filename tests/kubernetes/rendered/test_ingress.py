"""The Ingress routes what is public, and nothing that sidecars, probes or Prometheus call."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi import APIRouter
from starlette.routing import BaseRoute, Route

from tests.kubernetes.rendered.manifests import LOCAL, OVERLAYS, named, overlay
from todo.backend.app import create_app
from todo.contracts import names
from todo.service.settings import read_settings

ENVIRON: Final = {
    "DAPR_API_TOKEN": "made up",
    "APP_API_TOKEN": "made up",
    "TODO_AUTH": "required",
    "DAPR_HTTP_PORT": "9",
}
DESCRIPTION: Final = {"/openapi.json", "/docs"}
WEB_APP: Final = {"/", "/assets/{path:path}", "/sw.js", "/manifest.webmanifest"}


@pytest.fixture(scope="module")
def routes() -> tuple[set[str], set[str]]:
    """The paths of backend as it serves them, once it runs: public ones, others."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/todo")
        return asyncio.run(_routes())


async def _routes() -> tuple[set[str], set[str]]:
    app = create_app(read_settings(names.BACKEND, ENVIRON))
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)  # its background tasks begin, to be ended properly
        every = {path for route in app.routes for path in _paths(route)}
    assert every >= WEB_APP
    public = set(app.openapi()["paths"]) | DESCRIPTION | WEB_APP
    return public, every - public


def _paths(route: BaseRoute) -> Iterator[str]:
    if isinstance(route, Route):
        yield route.path
        return
    included: APIRouter = route.original_router  # type: ignore[attr-defined]  # how FastAPI keeps an included router
    for one in included.routes:
        yield from _paths(one)


@pytest.mark.parametrize("environment", OVERLAYS)
def test_every_public_path_is_reachable(environment: str, routes: tuple[set[str], set[str]]) -> None:
    public, _ = routes
    assert {"/tasks", "/tasks/{task_id}/why", "/dead-letters/{letter_id}", "/me"} <= public
    assert [path for path in public if not _reaches(environment, path)] == []


@pytest.mark.parametrize("environment", OVERLAYS)
def test_no_other_path_is_reachable(environment: str, routes: tuple[set[str], set[str]]) -> None:
    _, others = routes
    assert {
        *("/dapr/subscribe", "/events/dapr/subscribe", f"/job/{names.RECONCILE_SERIES}", "/internal/reminders/resolve"),
        *("/metrics", "/healthz", "/healthz/consume", "/readyz"),
    } <= others
    assert [path for path in others if _reaches(environment, path)] == []


@pytest.mark.parametrize("environment", OVERLAYS)
def test_it_leads_to_backend_alone(environment: str) -> None:
    assert {str(one["backend"]) for one in _rules(environment)} == {
        str({"service": {"name": "backend", "port": {"name": "http"}}})
    }


@pytest.mark.parametrize("environment", sorted(set(OVERLAYS) - set(LOCAL)))
def test_in_production_it_has_a_host_and_a_certificate(environment: str) -> None:
    spec = named(overlay(environment), "Ingress", "todo")["spec"]
    assert [one["host"] for one in spec["rules"]] == spec["tls"][0]["hosts"]


def _rules(environment: str) -> list[Any]:
    (rule,) = named(overlay(environment), "Ingress", "todo")["spec"]["rules"]
    paths: list[Any] = rule["http"]["paths"]
    return paths


def _reaches(environment: str, path: str) -> bool:
    """As Kubernetes reads the two kinds of rules: whole, or element by element."""
    return any(
        path == one["path"] or (one["pathType"] == "Prefix" and path.startswith(one["path"].rstrip("/") + "/"))
        for one in _rules(environment)
    )
