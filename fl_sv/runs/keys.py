"""The Ed25519 key with which the owner of a run signs its ledger.

It is made on first use. It is never written into a run directory.
"""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from filelock import FileLock

from fl_sv.errors import InputError
from fl_sv.files import read_bytes

HOME_VARIABLE = "FL_SV_HOME"
PUBLIC = "owner.pub"


def owner_key(folder: Path | None = None) -> Ed25519PrivateKey:
    """The owner's private key: `owner.pem` in a folder, by default $FL_SV_HOME or else ~/.fl-sv.

    It is made on first use, together with `owner.pub`. Raises InputError when the file is there but
    is no Ed25519 key, or cannot be read or written.
    """
    folder = folder or Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".fl-sv")
    path = folder / "owner.pem"
    try:
        if not path.exists():
            _make_key(folder, path)
        key = load_pem_private_key(read_bytes(path), password=None)
    except OSError as error:
        raise InputError(
            f"The signing key {path} cannot be used: {error.strerror}. Set {HOME_VARIABLE}."
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"The signing key {path} is no private key in PEM form: {error}."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"The signing key {path} is not an Ed25519 key.")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A public key in PEM form. Raises InputError when the file is none."""
    try:
        key = load_pem_public_key(read_bytes(path))
    except OSError as error:
        raise InputError(f"The public key {path} cannot be read: {error.strerror}.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            f"{path} is no public key in PEM form. Give the signer's owner.pub."
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key. Give the signer's owner.pub.")
    return key


def raw(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_fingerprint(public: bytes) -> str:
    """The first 16 hex digits of the key's sha256 in groups of four, to be read aloud."""
    digits = hashlib.sha256(public).hexdigest()[:16]
    return " ".join(digits[i : i + 4] for i in range(0, 16, 4))


def is_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the owner of the public key signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _make_key(folder: Path, path: Path) -> None:
    """Writes the public key first, and the private one last and in one step.

    So neither a crash nor a second process can leave a public key without its private key.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder / ".lock"):
        if path.exists():
            return
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / PUBLIC).write_bytes(public)
        temporary = folder / ".owner.part"
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        temporary.replace(path)
