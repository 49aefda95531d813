"""Ed25519 signatures of records and ledgers (RFC 8032). The key belongs to one user on one machine.

It lies outside of the registry, so that a registry that is restored, copied or changed by others proves nothing new.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from platformdirs import user_config_path

from flows.local import secret_file
from flows.local.environment import MAIN_CHECKOUT, REGISTRY
from tasks.core.errors import RootstockError
from tasks.core.files import make_private

VARIABLE = "ROOTSTOCK_SIGNING_KEY"  # for machines without a lasting home folder, such as those of CI
FOLDER_VARIABLE = "ROOTSTOCK_CONFIG"
TRUSTED = Path("deploy", "trusted_keys.txt")  # committed: public keys of other machines, a line each
LENGTH = 32  # bytes
REMEDY = "if nobody else had it: chmod 600; else move it away, and the next run makes another, which others must trust"


def config_folder() -> Path:
    """Returns the user's folder for the signing key and the ends of ledgers, outside of every project."""
    try:
        return MAIN_CHECKOUT / (os.environ.get(FOLDER_VARIABLE) or user_config_path("rootstock"))
    except RuntimeError:  # the user has no home
        return REGISTRY / "config"


def sign(message: str) -> str:
    """Returns the signature of a text by this machine's key, as hexadecimal digits."""
    return _private_key().sign(message.encode()).hex()


def public_key() -> str:
    """Returns this machine's public key, as hexadecimal digits."""
    return _private_key().public_key().public_bytes_raw().hex()


def is_signed(message: str, key: str, signature: str) -> bool:
    """Returns whether the signature of the text was made with the private key of this public key."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def is_trusted(key: str) -> bool:
    """Returns whether the public key is this machine's, or is in the committed list."""
    if key in _committed():
        return True
    try:
        return key == own_key()
    except RootstockError:  # what is only checked needs no key
        return False


def own_key() -> str | None:
    """Returns this machine's public key, or None if it has none yet."""
    is_there = os.environ.get(VARIABLE, "").strip() or _key_file().exists()
    return public_key() if is_there else None


def _committed() -> set[str]:
    file = MAIN_CHECKOUT / TRUSTED
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}


def _private_key() -> Ed25519PrivateKey:
    """Returns the key of the environment, or else the one in the user's folder, which is made at the first call."""
    text, place = os.environ.get(VARIABLE, "").strip(), VARIABLE
    if not text:
        file = _key_file()
        text, place = _ensure(file), str(file)
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        raise RootstockError(f"{place} is no key: it must be {LENGTH} bytes in base64", key="signing-key") from None


def _key_file() -> Path:
    return config_folder() / "signing-key"


def _ensure(file: Path) -> str:
    try:
        if not file.exists():
            make_private(file.parent)
            secret_file.create(file, base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode())
        return secret_file.read(file, "signing-key", REMEDY)
    except OSError as error:
        raise RootstockError(
            f"no key to sign records with can be made ({error}): set {FOLDER_VARIABLE} to a folder that only you can "
            f"read, or {VARIABLE} to {LENGTH} bytes in base64",
            key="signing-key",
        ) from None
