"""`/v1.0/jobs`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet.api.answers import ApiError, empty, json_response, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.errors import StorageError
from daprlet.job import InvalidJobError, UnschedulableJobError, read_request, shown
from daprlet.jobs import JobExists


class JobsApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route(f"/{version}/jobs/{{name:path}}", endpoint, methods=[method])
            for version in ("v1.0", "v1.0-alpha1")
            for method, endpoint in (("POST", self.schedule), ("GET", self.get), ("DELETE", self.delete))
        ]

    async def schedule(self, request: Request) -> Response:
        name = request.path_params["name"].strip()
        try:
            spec, overwrite = read_request(await read_body(request))
        except InvalidJobError as error:
            raise _error(400, "DAPR_SCHEDULER_JOB_NAME", str(error)) from error
        if spec.schedule is None and spec.due_time is None:
            raise _error(400, "DAPR_SCHEDULER_SCHEDULE_EMPTY", "Schedule is empty")
        failing = "failed to schedule job due to: "
        try:
            await self._sidecar.jobs.schedule(self._sidecar.app_id, name, spec, overwrite=overwrite)
        except JobExists as error:
            raise _error(409, "DAPR_SCHEDULER_SCHEDULE_JOB", f"{failing}{error}") from error
        except (UnschedulableJobError, StorageError) as error:
            raise _error(500, "DAPR_SCHEDULER_SCHEDULE_JOB", f"{failing}{error}") from error
        return empty()

    async def get(self, request: Request) -> Response:
        name = request.path_params["name"]
        spec = self._sidecar.jobs.get(self._sidecar.app_id, name)
        if spec is None:
            message = f"failed to get job due to: job not found: '{name}'"
            raise _error(500, "DAPR_SCHEDULER_GET_JOB", message)
        return json_response(shown(name, spec))

    async def delete(self, request: Request) -> Response:
        try:
            await self._sidecar.jobs.delete(self._sidecar.app_id, request.path_params["name"])
        except StorageError as error:
            message = f"failed to delete job due to: {error}"
            raise _error(500, "DAPR_SCHEDULER_DELETE_JOB", message) from error
        return empty()


def _error(status: int, code: str, message: str) -> ApiError:
    return ApiError(status, code, message, reason=code)
