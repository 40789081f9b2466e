"""`/v1.0/jobs`."""

import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet.api.answers import ApiError, empty, json_response, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.errors import StorageError
from daprlet.job import InvalidJobError, UnschedulableJobError, check_name, read_request, shown
from daprlet.jobs import JobExists


class JobsApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route(f"/{version}/jobs/{{name:segment}}", endpoint, methods=[method])
            for version in ("v1.0", "v1.0-alpha1")
            for method, endpoint in (("POST", self.schedule), ("GET", self.get), ("DELETE", self.delete))
        ]

    async def schedule(self, request: Request) -> Response:
        name = request.path_params["name"].strip()
        try:
            spec, other_name, overwrite = read_request(await read_body(request))
        except InvalidJobError as error:
            message = f"failed deserializing HTTP body: {error}"
            raise ApiError(400, "ERR_MALFORMED_REQUEST", message) from error
        if other_name:
            message, code = "Set the job name in the url only", "DAPR_SCHEDULER_JOB_NAME"
            raise ApiError(400, code, message, reason=code, info={"appID": self._sidecar.app_id})
        if not name:
            raise self._error(400, "DAPR_SCHEDULER_JOB_NAME_EMPTY", "Name is empty")
        if spec.schedule is None and spec.due_time is None:
            raise self._error(400, "DAPR_SCHEDULER_SCHEDULE_EMPTY", "Schedule is empty")
        failing = "failed to schedule job due to: "
        try:
            await self._sidecar.jobs.schedule(self._sidecar.app_id, name, spec, overwrite=overwrite)
        except JobExists as error:
            raise self._error(409, "DAPR_SCHEDULER_SCHEDULE_JOB", f"{failing}{error}") from error
        except (UnschedulableJobError, StorageError) as error:
            raise self._error(500, "DAPR_SCHEDULER_SCHEDULE_JOB", f"{failing}{error}") from error
        return empty()

    async def get(self, request: Request) -> Response:
        name = request.path_params["name"]
        failing = "failed to get job due to: "
        try:
            check_name(name)
        except UnschedulableJobError as error:
            raise self._error(500, "DAPR_SCHEDULER_GET_JOB", f"{failing}{error}") from error
        spec = self._sidecar.jobs.get(self._sidecar.app_id, name)
        if spec is None:
            raise self._error(500, "DAPR_SCHEDULER_GET_JOB", f"{failing}job not found: {name}")
        return json_response(shown(name, spec))

    async def delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            check_name(name)
            await self._sidecar.jobs.delete(self._sidecar.app_id, name)
        except (UnschedulableJobError, StorageError) as error:
            message = f"failed to delete job due to: {error}"
            raise self._error(500, "DAPR_SCHEDULER_DELETE_JOB", message) from error
        return empty()

    def _error(self, status: int, code: str, message: str) -> ApiError:
        info = {"appID": self._sidecar.app_id, "namespace": os.environ.get("NAMESPACE") or "default"}
        return ApiError(status, code, message, reason=code, info=info)
