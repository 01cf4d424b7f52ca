"""The federation's certificate authority, the server's certificate, and the companies' keys.

Keys are P-256 for TLS, and P-384 in OpenSSH's format for companies. Flower and `register` take any
NIST curve in that format.
"""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_sv.errors import InputError
from fl_sv.files import read_bytes
from fl_sv.runs.keys import PUBLIC as OPERATOR

CA_DAYS = 3650
SERVER_DAYS = 825
# A company's clock may be behind when it first gets the certificate.
SKEW = timedelta(hours=1)


def make_authority(folder: Path) -> None:
    """Writes ca.key (secret) and ca.crt, unless the folder has them."""
    if (folder / "ca.crt").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fl-sv federation")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _certificate(name, name, key.public_key(), key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    write_secret(folder / "ca.key", _pem(key))
    (folder / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def make_server_certificate(folder: Path, address: str) -> None:
    """Writes server.key (secret) and server.pem, for `address` and for loopback.

    The folder's authority signs it. Raises InputError when the authority cannot be read.
    """
    try:
        authority = x509.load_pem_x509_certificate(read_bytes(folder / "ca.crt"))
        signer = load_pem_private_key(read_bytes(folder / "ca.key"), password=None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The authority in {folder} cannot sign: {error}. Put ca.key back for this command."
        ) from None
    assert isinstance(signer, ec.EllipticCurvePrivateKey), "only `make_authority` writes ca.key"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address[:64])])
    names = [_general_name(name) for name in dict.fromkeys((address, "localhost", "127.0.0.1"))]
    usage = _usage(digital_signature=True)  # of a handshake
    certificate = (
        _certificate(subject, authority.subject, key.public_key(), signer.public_key(), SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_secret(folder / "server.key", _pem(key))
    (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def make_company_key(folder: Path, company: str) -> Path:
    """Writes company.key (secret), unless the folder has one, and the public key.

    Returns the file of the public key, which has the company's name. Raises InputError when the
    folder is the kit of another company.
    """
    secret, public = folder / "company.key", folder / f"{company}.pub"
    not_others = (public, folder / OPERATOR)
    others = sorted(path.stem for path in folder.glob("*.pub") if path not in not_others)
    if others:
        raise InputError(
            f"{folder} is the kit of {others[0]}, with its key. {company} needs its own kit."
        )
    if not secret.exists():
        key = ec.generate_private_key(ec.SECP384R1())
        write_secret(secret, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    text = (
        read_company_key(secret).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    )
    public.write_bytes(text + b"\n")
    return public


def read_company_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A company's private key.

    Raises InputError when it is missing, or is not of a kind that Flower takes.
    """
    try:
        key = load_ssh_private_key(read_bytes(path), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no usable private key: {error}. Make one with `fl-sv federation join`."
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path} is no elliptic-curve key. Make one with `fl-sv federation join`.")
    return key


def check_public_key(path: Path) -> None:
    """Raises InputError when the file is not the public half of a company's key.

    The message says so when it is the secret half.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise InputError(f"The public key {path} cannot be read: {error.strerror}.") from None
    if b"PRIVATE KEY" in data:
        raise InputError(
            f"{path} is a PRIVATE key, which must never leave its company. The company has to make"
            " a new one and send NAME.pub."
        )
    try:
        key = load_ssh_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            f"{path} is no public key in OpenSSH's format. Give the NAME.pub that `join` wrote."
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError(
            f"{path} is no elliptic-curve key. Make one with `fl-sv federation join`, or by"
            " `ssh-keygen -t ecdsa -b 384`."
        )


def certificate_faults(folder: Path, address: str, now: datetime | None = None) -> list[str]:
    """The faults of server.pem, a sentence each; empty when there are none.

    A certificate may have expired or be about to, be signed by another authority, or be for another
    address.
    """
    now = now or datetime.now(UTC)
    try:
        authority, server = (
            x509.load_pem_x509_certificate(read_bytes(folder / n)) for n in ("ca.crt", "server.pem")
        )
    except (OSError, ValueError) as error:
        return [f"it cannot be read: {error}"]
    faults = []
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        faults.append("server.pem was not signed by ca.crt")
    for name, certificate in (("server.pem", server), ("ca.crt", authority)):
        left = certificate.not_valid_after_utc - now
        if left < timedelta():
            faults.append(f"{name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
        elif left < timedelta(days=30):
            faults.append(f"{name} expires on {certificate.not_valid_after_utc:%Y-%m-%d}")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return faults + [
        f"server.pem is not for {name}"
        for name in (address, "localhost")
        if _general_name(name) not in names
    ]


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file that no other user can read at any moment; it appears whole."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    """What the key of a certificate may do: only what is given."""
    nothing = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**nothing, **allowed})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
