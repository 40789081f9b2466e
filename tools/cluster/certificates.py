"""Who is who in the cluster: a certificate authority for one run, certificates, tokens and kubeconfigs."""

import base64
import datetime as dt
import ipaddress
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.cluster.layout import API, NODE, NODE_IP

LIFETIME: Final = dt.timedelta(days=30)
API_NAMES: Final = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
API_ADDRESSES: Final = ("127.0.0.1", "10.96.0.1", NODE_IP)
# Who logs in with a token: the name of the kubeconfig, the user, the group.
USERS: Final = (
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", f"system:node:{NODE}", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
    ("coredns", "coredns", "system:masters"),
    ("metrics-server", "metrics-server", "system:masters"),
)


class Authority:
    """A certificate authority that lives as long as this object; what it signs outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = name_of("cluster-ca")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = certificate(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        signed = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        write(folder / "ca.crt", signed.public_bytes(serialization.Encoding.PEM))
        write(folder / "ca.key", private(self._key))

    def issue(self, file: str, subject: x509.Name, *, server: bool = False) -> None:
        """Write FILE.crt and FILE.key: a client's, or the API server's with all its names."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = certificate(subject, self._name, key.public_key())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            builder = builder.add_extension(x509.SubjectAlternativeName(api_names()), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        write(self.folder / f"{file}.crt", signed.public_bytes(serialization.Encoding.PEM))
        write(self.folder / f"{file}.key", private(key))


def name_of(common: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def api_names() -> Sequence[x509.GeneralName]:
    return [
        *(x509.DNSName(name) for name in API_NAMES),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in API_ADDRESSES),
    ]


def private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def make_all(run: Path) -> None:
    """Write everything that the servers of one run know each other by into RUN/pki, kubeconfigs into RUN."""
    folder = run / "pki"
    folder.mkdir()
    authority = Authority(folder)
    authority.issue("api", name_of("kube-apiserver"), server=True)
    authority.issue("kubelet-client", name_of("kube-apiserver-kubelet-client", "system:masters"))
    authority.issue("front-proxy", name_of("front-proxy-client"))
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write(folder / "accounts.key", private(accounts))
    public = accounts.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write(folder / "accounts.pub", public)
    tokens = {name: secrets.token_hex(16) for name, _, _ in USERS}
    lines = [f"{tokens[name]},{user},{name}{group and ','}{group}\n" for name, user, group in USERS]
    write(folder / "tokens.csv", "".join(lines).encode())
    ca = (folder / "ca.crt").read_bytes()
    for name, token in tokens.items():
        write(run / f"{name}.kubeconfig", json.dumps(kubeconfig(name, token, ca)).encode())


def kubeconfig(user: str, token: str, authority: bytes) -> dict[str, object]:
    """Return a kubeconfig; JSON is YAML."""
    encoded = base64.b64encode(authority).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "todo", "cluster": {"server": API, "certificate-authority-data": encoded}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "todo", "context": {"cluster": "todo", "user": user}}],
        "current-context": "todo",
    }
