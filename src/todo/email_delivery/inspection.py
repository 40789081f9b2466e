"""What `todo why` asks by invocation."""

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from todo.contracts.claims import INSPECT_CLAIMS, MOST_CLAIMS, ClaimsQuery, ClaimViews
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery.claims import Claims


def inspection(claims: Claims) -> Route:
    """The route that tells what the state store holds about reminder mails."""

    async def inspect(request: Request) -> Response:
        try:
            query = msgspec.json.decode(await request.body(), type=ClaimsQuery)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _problem(400, "invalid-request", f"the body is not a claims query: {error}")
        if len(query.keys) > MOST_CLAIMS:
            return _problem(422, "too-many-keys", f"{len(query.keys)} keys: ask for at most {MOST_CLAIMS} at a time")
        try:
            views = await claims.inspect(query.keys)
        except UnavailableError:
            return _problem(503, "unavailable", "the state store does not answer")
        return Response(msgspec.json.encode(ClaimViews(tuple(views))), media_type="application/json")

    return Route(f"/{INSPECT_CLAIMS}", inspect, methods=["POST"])


def _problem(status: int, kind: str, detail: str) -> Response:
    body = {"type": f"urn:todo:problem:{kind}", "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
