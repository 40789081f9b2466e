"""Who we are to the cluster, and where its API server is."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from todo.contracts import names
from todo.operations.cluster.cluster import Cluster
from todo.operations.cluster.errors import ClusterError, Fault
from todo.operations.cluster.kinds import Kind

if TYPE_CHECKING:
    import kr8s.asyncio

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE: Final = 15.0  # seconds until the API server must have answered
TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)


def is_inside() -> bool:
    """Whether this runs in a pod that has an account of its cluster."""
    return (SERVICE_ACCOUNT / "token").exists()


def own_namespace() -> str | None:
    """The namespace of the pod that this runs in; None: it runs in none."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip() or None
    except OSError:
        return None


@asynccontextmanager
async def connected(
    namespace: str = names.NAMESPACE, kubeconfig: str | Path | None = None, context: str | None = None
) -> AsyncIterator[Cluster]:
    """The cluster of a kubeconfig (KUBECONFIG, ~/.kube/config), or the one that this runs in. Raises `ClusterError`."""
    access = await _Access.find(kubeconfig, context)
    async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
        cluster = Cluster(access, http, namespace)
        await cluster.version()
        yield cluster


class _Access:
    """Credentials, as kr8s has them."""

    def __init__(self, api: "kr8s.asyncio.Api") -> None:
        self._api = api
        self._tls: ssl.SSLContext | bool = True

    @classmethod
    async def find(cls, kubeconfig: str | Path | None, context: str | None) -> "_Access":
        try:
            import kr8s.asyncio  # noqa: PLC0415 - of the extra `kubernetes`
        except ImportError as error:
            message = f"the client for Kubernetes is not installed ({error.name}): install todo[kubernetes]"
            raise ClusterError(Fault.SETTING, message) from error
        # Made without its factory, which would ask for the version with no time limit and leave its connection open.
        api = kr8s.asyncio.Api(bypass_factory=True, kubeconfig=str(kubeconfig) if kubeconfig else None, context=context)
        try:
            async with asyncio.timeout(PATIENCE):  # a plugin of the kubeconfig may hang
                await api.auth
        except Exception as error:
            raise _told(error) from error
        found = cls(api)
        await found._take()
        return found

    @property
    def server(self) -> str:
        return str(self._api.auth.server).rstrip("/")

    @property
    def request(self) -> dict[str, Any]:
        """What every request is given."""
        auth = self._api.auth
        headers = {"authorization": f"Bearer {auth.token.strip()}"} if auth.token else {}
        given: dict[str, Any] = {"ssl": self._tls, "headers": headers, "proxy": auth.proxy}
        return given | ({"server_hostname": auth.tls_server_name} if auth.tls_server_name else {})

    async def renew(self) -> None:
        """Read the credentials anew: tokens of pods are replaced every hour."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._api.auth.reauthenticate()
                await self._take()
        except Exception as error:
            raise _told(error) from error

    async def kind(self, name: str) -> Kind:
        """A kind that is not in our table, as the API server has it."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._api.auth.reauthenticate()  # its files again, for a connection of its own
                full, plural, namespaced = await self._api.lookup_kind(name)
        except ValueError as error:
            raise ClusterError(Fault.ABSENT, f"the API server knows no kind {name}: is its CRD installed?") from error
        except Exception as error:
            raise _told(error) from error
        finally:
            await self._hang_up()
            self._forget_files()
        api_version = full.split(".", 1)[1] if "." in full else full.split("/", 1)[1]
        group, _, version = api_version.rpartition("/")
        return Kind(plural, version, group, namespaced)

    async def _take(self) -> None:
        self._tls = await self._api.auth.ssl_context()  # type: ignore[no-untyped-call]
        self._forget_files()

    async def _hang_up(self) -> None:
        """Close the connections that kr8s itself had; it closes none."""
        if self._api._session is not None:  # noqa: SLF001 - there is no public way
            await self._api._session.aclose()  # noqa: SLF001 - the same

    def _forget_files(self) -> None:
        """Delete what kr8s wrote to files to hand it to OpenSSL: a client's key is not left in a temporary folder."""
        auth = self._api.auth
        if not hasattr(auth, "kubeconfig"):
            return
        named = f"{auth.kubeconfig.users} {auth.kubeconfig.clusters}"
        for one in (auth.client_key_file, auth.client_cert_file, auth.server_ca_file):
            if one and Path(one).parent == Path(tempfile.gettempdir()) and str(one) not in named:
                Path(one).unlink(missing_ok=True)


def _told(error: Exception) -> ClusterError:
    if isinstance(error, TimeoutError):
        return ClusterError(Fault.AWAY, f"credentials were not to be had within {PATIENCE:.0f} s: does a plugin hang?")
    reason = str(error).replace("\n", " ") or type(error).__name__
    return ClusterError(Fault.SETTING, f"no cluster: {reason}: give a kubeconfig in KUBECONFIG, or run this in a pod")
