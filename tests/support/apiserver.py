"""As much of a Kubernetes API server as procedures use: objects with versions, over TLS, for those with a token."""

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PAGE = 2
STATUSES = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Invalid"}


class ApiServer:
    """Objects by path. `forbidden` are (verb, plural) that the caller may not; `tokens` those that are taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[str, Any]] = {}
        self.tokens = {"first"}
        self.forbidden: set[tuple[str, str]] = set()
        self.asked: list[str] = []
        self.before_write: Callable[[str], None] = lambda _: None
        self.echo: tuple[str, int] | None = None  # where a port-forward leads
        self.ran: list[tuple[list[str], bytes]] = []
        self._version = 0

    def put(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        kept: dict[str, Any] = json.loads(json.dumps(manifest))
        kept.setdefault("metadata", {}).update(
            {"name": path.rsplit("/", maxsplit=1)[-1], "resourceVersion": str(self._version)}
        )
        self.objects[path] = kept
        return kept

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/version", self._told_version)
        app.router.add_get("/{core:api/v1}/namespaces/{ns}/pods/{pod}/exec", self._exec)
        app.router.add_get("/{core:api/v1}/namespaces/{ns}/pods/{pod}/portforward", self._forward)
        app.router.add_get("/{core:api/v1}/namespaces/{ns}/pods/{pod}/log", self._log)
        app.router.add_route("*", "/{path:.*}", self._object)
        return app

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def show(self, server: str, token: str) -> None:
        """Write a kubeconfig."""
        cluster = {"server": server, "certificate-authority": str(self.folder / "ca.crt")}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "clusters": [{"name": "here", "cluster": cluster}],
                    "users": [{"name": "me", "user": {"token": token}}],
                }
            )
        )

    async def _told_version(self, _: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v1.34.3"})

    async def _log(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{request.query['container']} of {request.match_info['pod']} said nothing\n")

    async def _object(self, request: web.Request) -> web.Response:
        path = "/" + request.match_info["path"]
        self.asked.append(f"{request.method} {path}")
        named = path in self.objects or request.method in {"PUT", "PATCH", "DELETE"}
        plural = path.split("/")[-2 if named else -1]
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return refused(401, "Unauthorized")
        if (request.method, plural) in self.forbidden:
            return refused(403, f'{plural} is forbidden: User "me" cannot do that to resource "{plural}"')
        if request.method == "GET":
            return self._listed(request, path) if _is_collection(path) else self._got(path)
        return await self._write(request, path)

    def _got(self, path: str) -> web.Response:
        found = self.objects.get(path)
        return web.json_response(found) if found else refused(404, f"{path} not found")

    def _listed(self, request: web.Request, path: str) -> web.Response:
        wanted = dict(one.split("=") for one in request.query.get("labelSelector", "").split(",") if one)
        found = [
            one
            for where, one in sorted(self.objects.items())
            if where.startswith(path + "/") and wanted.items() <= (one["metadata"].get("labels") or {}).items()
        ]
        start = int(request.query.get("continue") or 0)
        following = str(start + PAGE) if start + PAGE < len(found) else ""
        return web.json_response({"items": found[start : start + PAGE], "metadata": {"continue": following}})

    async def _write(self, request: web.Request, path: str) -> web.Response:
        self.before_write(path)
        if request.method == "DELETE":
            return web.json_response({}) if self.objects.pop(path, None) else refused(404, f"{path} not found")
        body = await request.json()
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return refused(409, f"{path} already exists")
            return web.json_response(self.put(path, body))
        live = self.objects.get(path)
        if live is None:
            return refused(404, f"{path} not found")
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in {None, live["metadata"]["resourceVersion"]}:
            return refused(409, "the object has been modified; please apply your changes to the latest version")
        return web.json_response(self.put(path, _merged(live, body) if request.method == "PATCH" else body))

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        """A command that repeats its standard input on standard output, and its arguments on the other."""
        socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
        await socket.prepare(request)
        argv, stdin = request.query.getall("command"), bytearray()
        if "stdin" in request.query:
            async for message in socket:
                if message.data[0] == 255:
                    break
                stdin += message.data[1:]
        self.ran.append((argv, bytes(stdin)))
        await socket.send_bytes(b"\x01" + stdin)
        await socket.send_bytes(b"\x02" + " ".join(argv).encode())
        code = int(argv[-1]) if argv[-1].isdigit() else 0
        failed = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}
        await socket.send_bytes(b"\x03" + json.dumps(failed if code else {"status": "Success"}).encode())
        await socket.close()
        return socket

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if self.echo is None:
            return refused(404, "pods not found")
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        port = int(request.query["ports"]).to_bytes(2, "little")
        for channel in (b"\x00", b"\x01"):
            await socket.send_bytes(channel + port)
        reader, writer = await asyncio.open_connection(*self.echo)

        async def down() -> None:
            while content := await reader.read(65536):
                await socket.send_bytes(b"\x00" + content)
            await socket.close()

        task = asyncio.create_task(down())
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data[1:])
        task.cancel()
        writer.close()
        return socket


@asynccontextmanager
async def api_server(folder: Path) -> AsyncIterator[ApiServer]:
    """One that listens, with its kubeconfig."""
    api = ApiServer(folder)
    server = TestServer(api.app())
    await server.start_server(ssl=_tls(folder))
    api.show(f"https://127.0.0.1:{server.port}", "first")
    try:
        yield api
    finally:
        await server.close()


def refused(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message, "reason": STATUSES[status]}, status=status)


def _is_collection(path: str) -> bool:
    rest = path.rsplit("/namespaces/", maxsplit=1)[-1].split("/")
    return len(rest) == (2 if "/namespaces/" in path else 1) or (path.count("/") in {3, 4} and "namespaces" not in path)


def _merged(live: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(live)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


def _tls(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "ca.key")
    return context
