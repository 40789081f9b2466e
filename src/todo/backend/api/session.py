"""Signing in with a browser, and the sessions that follow."""

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from todo.backend.api import gate, models, problems, requests
from todo.backend.api.models import SignInIn
from todo.backend.api.problems import answers
from todo.backend.api.requests import Anybody, TheBackend, UserId
from todo.backend.auth import sessions
from todo.backend.auth.callers import LOCAL, Caller
from todo.backend.auth.errors import ForbiddenError, ProviderAwayError, TooManyError, UnauthenticatedError
from todo.backend.auth.scopes import Scope
from todo.backend.auth.sessions import Site
from todo.backend.auth.signing_in import Returned, SigningIn, Visit
from todo.backend.commands import ConflictError, NotFoundError
from todo.backend.store import people
from todo.backend.store import sessions as store
from todo.backend.store.people import User
from todo.backend.store.sessions import Session
from todo.dapr.subscriber import UnavailableError

router = APIRouter(tags=["sign in"])

PUBLIC: Final[dict[str, Any]] = {"security": []}  # in the OpenAPI document: no token is wanted
_NEEDED: Final[dict[int | str, dict[str, Any]]] = {401: {"model": models.SignInNeeded}}
_UNSTORED: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_NOTHING: Final = "TODO_AUTH=local believes every caller of this machine: there is nothing to sign in to"
_LASTS: Final = 600  # seconds that a browser may take at the provider; the cookie says when it began, too
CALLBACK: Final = "/session/oidc/callback"
_Short = Annotated[str, Query(max_length=200)]


@router.get("/session", response_model=models.SessionOut, responses=_NEEDED, openapi_extra=PUBLIC)
async def read(request: Request, backend: TheBackend, user_id: UserId = None) -> Response:
    """Who is signed in, and how that is done here. Under TODO_AUTH=local it is the local user."""
    if _is_local(request):
        owner = await requests.owner(request, user_id)
        return await _signed_in(backend, LOCAL, owner.id, None, [])
    methods = _signing_in(request).methods
    try:
        caller = await _present(request)
    except UnauthenticatedError as error:
        return _private(problems.unauthenticated(error, methods=methods))
    secret = visit_of(request).held if caller.session else None
    return await _signed_in(backend, caller, caller.acts_for(user_id), secret, methods)


@router.post(
    "/session",
    status_code=201,
    response_model=models.SessionOut,
    responses=answers(409, 413),
    openapi_extra=PUBLIC,
)
async def sign_in(body: SignInIn, request: Request, backend: TheBackend) -> Response:
    """Sign in with the address and the password of a local account: a session, and its cookie."""
    if _is_local(request):
        raise ConflictError(_NOTHING)
    site, signing_in = _site(request), _signing_in(request)
    gate.check_origin(request, site, demanded=False)
    secret = await signing_in.by_password(body.email, body.password, visit_of(request))
    caller = await gate.authenticator(request).signed_in(secret)
    answer = await _signed_in(backend, caller, caller.acts_for(None), secret, signing_in.methods)
    answer.status_code = 201
    keep_session(answer, site, secret)
    return answer


@router.get(
    "/session/oidc", status_code=303, response_class=Response, responses=answers(404, 409), openapi_extra=PUBLIC
)
async def begin(
    request: Request,
    next_path: Annotated[
        str, Query(alias="next", max_length=1000, description="a path of this system, to go to afterwards")
    ] = "/",
) -> Response:
    """Go to the identity provider to sign in. Where it cannot, a browser is told at /?sign-in=KIND."""
    if _is_local(request):
        raise ConflictError(_NOTHING)
    site = _site(request)
    try:
        location, cookie = await _signing_in(request).begin(next_path)
    except ProviderAwayError as error:
        return await _refused(request, error)
    answer = _private(RedirectResponse(location, 303))
    answer.set_cookie(site.sign_in_cookie, cookie, max_age=_LASTS, secure=site.is_secure, httponly=True, samesite="lax")
    return answer


@router.get(CALLBACK, status_code=303, response_class=Response, responses=answers(404, 409), openapi_extra=PUBLIC)
async def come_back(
    request: Request,
    state: _Short = "",
    code: str = "",
    error: _Short = "",
    iss: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Where the identity provider sends a browser back to: a session, and on to where it wanted to go."""
    if _is_local(request):
        raise ConflictError(_NOTHING)
    site = _site(request)
    held = request.cookies.get(site.sign_in_cookie, "")
    try:
        given = Returned(state, code, error, iss)
        secret, location = await _signing_in(request).by_code(held, given, visit_of(request))
        await gate.authenticator(request).signed_in(secret)  # known from the start, however many fail at this address
    except (UnauthenticatedError, ForbiddenError, TooManyError, ProviderAwayError) as refusal:
        answer = await _refused(request, refusal)
    else:
        answer = RedirectResponse(location, 303)
        keep_session(answer, site, secret)
    answer.delete_cookie(site.sign_in_cookie, secure=site.is_secure, httponly=True, samesite="lax")
    return _private(answer)


@router.delete("/session", status_code=204, responses=answers(409))
async def sign_out(request: Request, backend: TheBackend) -> Response:
    """End this session."""
    session = _caller(request).session
    if session is None:
        raise ConflictError("this is no session: there is nothing to sign out of (a token is revoked by `todo token`)")
    await _end(request, backend, session.user_id, session.id)
    answer, site = _private(Response(status_code=204)), _site(request)
    answer.delete_cookie(site.session_cookie, secure=site.is_secure, httponly=True, samesite="lax")
    return answer


@router.get("/sessions", response_model=models.SessionList)
async def list_sessions(request: Request, backend: TheBackend, user: Anybody) -> Response:
    """The browsers that you are signed in with, the one seen last first."""
    caller = _caller(request)
    _check_token(caller, Scope.READ)
    found = await store.living(backend.database.pool, backend.database.clock(), user.id)
    return _private(requests.answer({"sessions": [_session_out(one, caller) for one in found]}))


@router.delete("/sessions/{session_id}", status_code=204, responses=answers(404))
async def end(
    session_id: Annotated[int, Path(ge=1, le=requests.MAX_NUMBER)], request: Request, backend: TheBackend, user: Anybody
) -> Response:
    """End one of your sessions. A second later no replica takes its cookie any more."""
    _check_token(_caller(request), Scope.WRITE)
    if not await _end(request, backend, user.id, session_id):
        raise NotFoundError("there is no such session")
    return Response(status_code=204)


def visit_of(request: Request) -> Visit:
    """What the request tells of who makes it."""
    held = request.cookies.get(_site(request).session_cookie)
    return Visit(gate.address_of(request), request.headers.get("user-agent", ""), held)


def keep_session(answer: Response, site: Site, secret: str) -> None:
    """Give a browser its session."""
    longest = int(store.LONGEST.total_seconds())
    answer.set_cookie(
        site.session_cookie, secret, max_age=longest, secure=site.is_secure, httponly=True, samesite="lax"
    )


async def _present(request: Request) -> Caller:
    """Who calls, though nobody has to; that nobody does is no failure of theirs. Raises as the gate does."""
    site = _site(request)
    if "authorization" not in request.headers and site.session_cookie not in request.cookies:
        raise UnauthenticatedError("nobody is signed in: POST /session, or GET /session/oidc", given=False)
    return await gate.admit(request, site)


async def _end(request: Request, backend: requests.Backend, user_id: int, session_id: int) -> bool:
    digest = await store.end(backend.database.pool, session_id, user_id)
    if digest is None:
        return False
    if not _is_local(request):
        gate.authenticator(request).forget(digest)
    return True


async def _signed_in(
    backend: requests.Backend, caller: Caller, user_id: int, secret: str | None, methods: list[str]
) -> Response:
    user = await people.find(backend.database.pool, user_id)
    if user is None:
        raise NotFoundError("there is no such user")
    return _private(requests.answer(_session_of(user, caller, secret, methods)))


def _session_of(user: User, caller: Caller, secret: str | None, methods: list[str]) -> dict[str, Any]:
    csrf = sessions.csrf_token(secret) if secret else None
    return {"user": asdict(user), "scopes": sorted(caller.scopes), "csrf": csrf, "methods": methods}


def _session_out(session: Session, caller: Caller) -> dict[str, Any]:
    shown = ("id", "method", "user_agent", "created_at", "seen_at", "expires_at")
    is_current = caller.session is not None and caller.session.id == session.id
    return {name: getattr(session, name) for name in shown} | {"current": is_current}


def _check_token(caller: Caller, scope: Scope) -> None:
    """Whoever is signed in manages their own sessions, whatever else they may do; a token has to be good for it."""
    if caller.session is None:
        caller.need(scope)


def _private(answer: Response) -> Response:
    answer.headers.update(_UNSTORED)
    return answer


async def _refused(
    request: Request, error: UnauthenticatedError | ForbiddenError | TooManyError | ProviderAwayError
) -> Response:
    """A problem; to a person whose browser came here by itself the app, which knows the kind."""
    answer = await problems.answer_to(request, error)
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"/?sign-in={error.kind}", 303)
    return answer


def _is_local(request: Request) -> bool:
    return getattr(request.state, "caller", None) is LOCAL


def _caller(request: Request) -> Caller:
    return requests.caller_of(request)


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def _signing_in(request: Request) -> SigningIn:
    found: SigningIn | None = getattr(request.app.state, "signing_in", None)
    if found is None:
        raise UnavailableError("the database was not reached yet")
    return found
