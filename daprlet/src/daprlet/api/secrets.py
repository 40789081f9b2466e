"""`/v1.0/secrets`."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet.api.answers import ApiError, json_response
from daprlet.api.sidecar import Sidecar
from daprlet.errors import SetupError
from daprlet.secret_stores import SecretStore


class SecretsApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route("/v1.0/secrets/{store:segment}/bulk", self.bulk, methods=["GET"]),
            Route("/v1.0/secrets/{store:segment}/{key:segment}", self.get, methods=["GET"]),
        ]

    async def get(self, request: Request) -> Response:
        name, store = self._store(request)
        key = request.path_params["key"]
        if not self._allowed(name, key):
            message = f'access denied by policy to get "{key}" from "{name}"'
            raise ApiError(403, "ERR_PERMISSION_DENIED", message)
        began = time.perf_counter()
        failing = f"failed getting secret with key {key} from secret store {name}: "
        try:
            pairs = store.get(key)
        except SetupError as error:
            raise ApiError(500, "ERR_SECRET_GET", f"{failing}{error}") from error
        self._sidecar.metrics.secret(name, "get", time.perf_counter() - began, success=pairs is not None)
        if pairs is None:
            raise ApiError(500, "ERR_SECRET_GET", f"{failing}secret {key} not found")
        return json_response(pairs)

    async def bulk(self, request: Request) -> Response:
        name, store = self._store(request)
        try:
            secrets = store.all()
        except SetupError as error:
            message = f"failed getting secrets from secret store {name}: {error}"
            raise ApiError(500, "ERR_SECRET_GET", message) from error
        return json_response({key: pairs for key, pairs in secrets.items() if self._allowed(name, key)})

    def _store(self, request: Request) -> tuple[str, SecretStore]:
        stores = self._sidecar.resources.secret_stores
        if not stores:
            raise ApiError(500, "ERR_SECRET_STORES_NOT_CONFIGURED", "secret store is not configured")
        name = request.path_params["store"]
        if name not in stores:
            raise ApiError(401, "ERR_SECRET_STORE_NOT_FOUND", f"failed finding secret store with key {name}")
        return name, stores[name]

    def _allowed(self, store: str, key: str) -> bool:
        scope = self._sidecar.resources.secret_scopes.get(store)
        return scope is None or scope.allows(key)
