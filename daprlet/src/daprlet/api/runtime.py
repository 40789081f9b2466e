"""What the sidecar says about itself: health, metadata, shutdown."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet import VERSION
from daprlet.api.answers import ApiError, empty, json_response, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.resources import Component
from daprlet.subscriptions import describe

_CAPABILITIES = {"state.sqlite": ["ETAG", "TRANSACTIONAL", "TTL"], "pubsub.sqlite": ["BULK_PUBSUB"]}


class RuntimeApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route("/v1.0/healthz", self.health, methods=["GET"]),
            Route("/v1.0/healthz/outbound", self.outbound_health, methods=["GET"]),
            Route("/v1.0/metadata", self.metadata, methods=["GET"]),
            Route("/v1.0/metadata/{key:segment}", self.extend_metadata, methods=["PUT"]),
            Route("/v1.0/shutdown", self.shutdown, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """204 once the app's port has accepted; 503 while shutting down."""
        if self._sidecar.draining:
            raise ApiError(503, "ERR_HEALTH_NOT_READY", "dapr is shutting down")
        if not self._sidecar.replica.channel.accepted:
            raise ApiError(500, "ERR_HEALTH_NOT_READY", "dapr is not ready: [app]")
        if request.query_params.get("appid", self._sidecar.app_id) != self._sidecar.app_id:
            raise ApiError(500, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match")
        return empty()

    async def outbound_health(self, _: Request) -> Response:
        """204 as soon as the API works, whether or not the app is up."""
        if self._sidecar.draining:
            raise ApiError(503, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr is shutting down")
        return empty()

    async def metadata(self, _: Request) -> Response:
        sidecar = self._sidecar
        return json_response(
            {
                "id": sidecar.app_id,
                "runtimeVersion": f"daprlet-{VERSION}",
                "components": [_component(one) for one in sidecar.resources.components],
                "extended": sidecar.extended | {"daprRuntimeVersion": f"daprlet-{VERSION}"},
                "subscriptions": describe(sidecar.replica.subscriptions),
                "appConnectionProperties": self._connection(),
                "actorRuntime": {"runtimeStatus": "DISABLED", "hostReady": False},
                "scheduler": {"connected_addresses": ["embedded"]},
            }
        )

    def _connection(self) -> dict[str, Any]:
        settings = self._sidecar.settings
        if not settings.app_port:
            return {}
        found: dict[str, Any] = {
            "port": settings.app_port,
            "protocol": "http",
            "channelAddress": settings.app_host,
        }
        if settings.max_concurrency > 0:
            found["maxConcurrency"] = settings.max_concurrency
        if check := settings.health_check:
            found["health"] = {
                "healthCheckPath": check.path,
                "healthProbeInterval": f"{check.interval:g}s",
                "healthProbeTimeout": f"{check.timeout * 1000:g}ms",
                "healthThreshold": check.threshold,
            }
        return found

    async def extend_metadata(self, request: Request) -> Response:
        body = await read_body(request)
        self._sidecar.extended[request.path_params["key"]] = body.decode(errors="replace")
        return empty()

    async def shutdown(self, _: Request) -> Response:
        self._sidecar.shut_down()
        return empty()


def _component(component: Component) -> dict[str, Any]:
    told: dict[str, Any] = {"name": component.name, "type": component.type, "version": "v1"}
    capabilities = _CAPABILITIES.get(component.type)
    return {**told, "capabilities": capabilities} if capabilities else told
