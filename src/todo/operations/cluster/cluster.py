"""Objects of a cluster, through its API server."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias

import aiohttp

from todo.operations.cluster import streams
from todo.operations.cluster.errors import ClusterError, Fault
from todo.operations.cluster.kinds import KNOWN, Kind
from todo.operations.cluster.streams import Executed

EVERYWHERE: Final = "*"  # all namespaces
MANAGER: Final = "todo"  # whose fields they are that `apply` writes
PAGE: Final = 500
_FAULTS: Final = {
    401: Fault.CREDENTIALS,
    403: Fault.FORBIDDEN,
    404: Fault.ABSENT,
    409: Fault.CONFLICT,
    503: Fault.AWAY,
    504: Fault.AWAY,
}
_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_LOST: Final = (aiohttp.ClientError, TimeoutError, OSError)

Object: TypeAlias = dict[str, Any]  # as the API server gives it
Objects: TypeAlias = list[Object]


class Access(Protocol):
    """Where the API server is, and what it is shown."""

    @property
    def server(self) -> str: ...
    @property
    def request(self) -> dict[str, Any]: ...
    async def renew(self) -> None: ...
    async def kind(self, name: str) -> Kind: ...


class Cluster:
    """One cluster. `namespace` is where objects are that are asked for without one.

    Kinds are named as for kubectl: `pod`, `pods`, `components.dapr.io`. Methods raise `ClusterError`.
    """

    def __init__(self, access: Access, http: aiohttp.ClientSession, namespace: str) -> None:
        self._access = access
        self._http = http
        self.namespace = namespace

    @property
    def server(self) -> str:
        """The address of the API server."""
        return self._access.server

    async def get(self, kind: str, name: str, *, namespace: str | None = None) -> Object | None:
        """One object; None: there is none of that name."""
        path = (await self._kind(kind)).path(namespace or self.namespace, name)
        try:
            found: Object = await self._asked("GET", path)
        except ClusterError as error:
            if error.fault is Fault.ABSENT:
                return None
            raise
        return found

    async def list(
        self,
        kind: str,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Objects:
        """The objects of a kind that have these labels and fields; `EVERYWHERE`: of all namespaces."""
        where = namespace or self.namespace
        path = (await self._kind(kind)).path(None if where == EVERYWHERE else where)
        query = {"limit": str(PAGE)} | _selector("labelSelector", labels) | _selector("fieldSelector", fields)
        found: Objects = []
        while True:
            page = await self._asked("GET", path, query=query, verb="list")
            found += page["items"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return found

    async def create(self, manifest: Mapping[str, Any]) -> Object:
        """Make an object. `Fault.CONFLICT`: there is one of that name."""
        kind, namespace, _ = await self._of(manifest)
        made: Object = await self._asked("POST", kind.path(namespace), body=manifest)
        return made

    async def apply(self, manifest: Mapping[str, Any]) -> Object:
        """Make an object, or set these fields of the one that is there; what others have set stays."""
        kind, namespace, name = await self._of(manifest)
        applied: Object = await self._asked(
            "PATCH",
            kind.path(namespace, name),
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )
        return applied

    async def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Put a whole object in place of the one that is there.

        With `metadata.resourceVersion`, only if it is still of that version (`Fault.CONFLICT`).
        """
        kind, namespace, name = await self._of(manifest)
        replaced: Object = await self._asked("PUT", kind.path(namespace, name), body=manifest)
        return replaced

    async def patch(self, kind: str, name: str, patch: Mapping[str, Any], *, namespace: str | None = None) -> Object:
        """Merge into an object (RFC 7386: null removes); `metadata.resourceVersion` as for `replace`."""
        path = (await self._kind(kind)).path(namespace or self.namespace, name)
        patched: Object = await self._asked("PATCH", path, body=patch, content_type="application/merge-patch+json")
        return patched

    async def delete(self, kind: str, name: str, *, namespace: str | None = None) -> None:
        """Delete an object; nothing is wrong if there is none."""
        path = (await self._kind(kind)).path(namespace or self.namespace, name)
        try:
            await self._asked("DELETE", path, query={"propagationPolicy": "Background"})
        except ClusterError as error:
            if error.fault is not Fault.ABSENT:
                raise

    async def logs(  # noqa: PLR0913 - as many as kubectl has
        self,
        pod: str,
        container: str,
        *,
        tail: int | None = None,
        since: float | None = None,
        previous: bool = False,
        namespace: str | None = None,
    ) -> str:
        """What a container wrote: its last `tail` lines, of the last `since` seconds, or before it was restarted."""
        query = {"container": container, "previous": "true" if previous else "false"}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        query |= {"sinceSeconds": str(max(1, round(since)))} if since is not None else {}
        path = KNOWN["pods"].path(namespace or self.namespace, pod) + "/log"
        written: str = await self._asked("GET", path, query=query, as_text=True)
        return written

    async def events(self, of: str | None = None, *, namespace: str | None = None) -> Objects:
        """What the cluster noted about an object of that name, or about all; oldest first."""
        found = await self.list("events", fields={"involvedObject.name": of} if of else None, namespace=namespace)
        return sorted(found, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))

    async def version(self) -> str:
        """The API server's version, such as v1.34.3."""
        return str((await self._asked("GET", "/version"))["gitVersion"])

    @asynccontextmanager
    async def reach(self, pod: str, port: int, *, namespace: str | None = None) -> AsyncIterator[str]:
        """An address on this machine behind which the port of a pod is, one that listens on its loopback included.

        A pod that is gone, or nothing that listens there: connections end at once.
        """
        path = KNOWN["pods"].path(namespace or self.namespace, pod) + "/portforward"
        what = f"reach port {port} of pod {pod}"
        async with streams.forwarded(lambda: self._socket(path, [("ports", str(port))], streams.FORWARD, what)) as url:
            yield url

    @asynccontextmanager
    async def reach_app(self, app: str, port: int, *, namespace: str | None = None) -> AsyncIterator[str]:
        """As `reach`, but each connection goes to a pod with the label app=`app` that is ready at that moment."""

        @asynccontextmanager
        async def opening() -> AsyncIterator[streams.Socket]:
            pod = await self._ready(app, namespace)
            path = KNOWN["pods"].path(namespace or self.namespace, pod) + "/portforward"
            what = f"reach port {port} of pod {pod}"
            async with self._socket(path, [("ports", str(port))], streams.FORWARD, what) as socket:
                yield socket

        async with streams.forwarded(opening) as url:
            yield url

    async def _ready(self, app: str, namespace: str | None) -> str:
        pods = await self.list("pods", labels={"app": app}, namespace=namespace)
        ready = [str(one["metadata"]["name"]) for one in pods if _is_ready(one)]
        if not ready:
            raise ClusterError(Fault.ABSENT, f"no pod of {app} is ready in namespace {namespace or self.namespace}")
        return ready[0]

    async def execute(  # noqa: PLR0913 - what, where, and what it gets
        self,
        pod: str,
        container: str,
        argv: Sequence[str],
        stdin: str | bytes | None = None,
        *,
        seconds: float = 60,
        namespace: str | None = None,
    ) -> Executed:
        """Run a command in a container to its end."""
        path = KNOWN["pods"].path(namespace or self.namespace, pod) + "/exec"
        query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", one) for one in argv)]
        query += [("stdin", "true")] if stdin is not None else []
        content = stdin.encode() if isinstance(stdin, str) else stdin
        what = f"run {argv[0]} in {container} of pod {pod}"

        async def run() -> Executed:
            async with self._socket(path, query, streams.EXEC, what) as socket:
                return await streams.executed(socket, content, what)

        return await streams.within(seconds, run(), what)

    async def _kind(self, name: str) -> Kind:
        known = KNOWN.get(name.lower())
        return known or await self._access.kind(name)

    async def _of(self, manifest: Mapping[str, Any]) -> tuple[Kind, str, str]:
        """The kind, namespace and name of an object."""
        group = manifest["apiVersion"].rpartition("/")[0]
        name = str(manifest["kind"])
        known = await self._kind(name)
        if known.api_version != manifest["apiVersion"]:
            known = await self._access.kind(f"{name}.{group}" if group else name)
        metadata = manifest["metadata"]
        return known, str(metadata.get("namespace") or self.namespace), str(metadata["name"])

    async def _asked(  # noqa: PLR0913 - a request has this many parts
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        verb: str = "",
        as_text: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        content = None if body is None else json.dumps(body).encode()
        what = f"{verb or _VERBS[method]} {_readable(path)}"
        status, answer = await self._sent(method, path, query, content, content_type, what)
        if status == 401:  # noqa: PLR2004 - HTTP
            await self._access.renew()
            status, answer = await self._sent(method, path, query, content, content_type, what)
        if status >= 400:  # noqa: PLR2004 - HTTP
            raise _refusal(status, answer, what)
        return answer.decode(errors="replace") if as_text else json.loads(answer)

    async def _sent(  # noqa: PLR0913 - the same parts
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | None,
        content_type: str,
        what: str,
    ) -> tuple[int, bytes]:
        given = self._access.request
        headers = given.pop("headers") | ({"content-type": content_type} if content is not None else {})
        try:
            async with self._http.request(
                method, self.server + path, params=query, data=content, headers=headers, **given
            ) as response:
                return response.status, await response.read()
        except _LOST as error:
            raise self._away(error, what) from error

    @asynccontextmanager
    async def _socket(
        self, path: str, query: Sequence[tuple[str, str]], protocol: str, what: str
    ) -> AsyncIterator[streams.Socket]:
        try:
            opening: AbstractAsyncContextManager[streams.Socket] = self._http.ws_connect(
                self.server + path,
                params=query,
                protocols=[protocol],
                heartbeat=20,
                max_msg_size=0,
                **self._access.request,
            )
            async with opening as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as error:
            raise ClusterError(
                _FAULTS.get(error.status, Fault.REFUSED),
                f"cannot {what} in namespace {path.split('/')[4]}: the API server answers {error.status}"
                f" ({_HANDSHAKES.get(error.status, error.message)})",
            ) from error
        except aiohttp.ClientConnectionError as error:
            raise self._away(error, what) from error

    def _away(self, error: BaseException, what: str) -> ClusterError:
        reason = str(error) or type(error).__name__
        return ClusterError(Fault.AWAY, f"cannot {what}: the API server at {self.server} does not answer ({reason})")


_HANDSHAKES: Final = {
    403: "this account may not: its Role needs get and create on pods/exec or pods/portforward",
    404: "there is no such pod or container",
}


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _selector(name: str, wanted: Mapping[str, str] | None) -> dict[str, str]:
    return {name: ",".join(f"{key}={value}" for key, value in wanted.items())} if wanted else {}


def _readable(path: str) -> str:
    """`pods/backend-1 in namespace todo-phasev` of a path."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004 - the namespace itself has two
        return f"{'/'.join(rest[2:])} in namespace {rest[1]}"
    return "/".join(rest) or path


def _refusal(status: int, answer: bytes, what: str) -> ClusterError:
    try:
        said = str(json.loads(answer).get("message", "")).replace("\n", " ")
    except (ValueError, AttributeError):
        said = answer[:200].decode(errors="replace").replace("\n", " ")
    fault = _FAULTS.get(status, Fault.REFUSED)
    if fault is Fault.FORBIDDEN:
        return ClusterError(fault, f"this account may not {what}: its Role needs that verb ({said})")
    if fault is Fault.CREDENTIALS:
        return ClusterError(fault, f"cannot {what}: the API server does not take our credentials ({said})")
    return ClusterError(fault, f"cannot {what}: {said or status}")
