"""Decides which Dask scheduler may be addressed."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from importlib.util import find_spec
from urllib.parse import urlsplit

from tasks.core.errors import RootstockError
from tasks.core.spread import SCHEDULER

TLS = "ROOTSTOCK_SCHEDULER_TLS"  # off: a scheduler on this machine may be addressed without TLS


def check_address(address: str) -> None:
    """Raises RootstockError for an address without TLS, unless it is on this machine and the user has said so.

    Whoever reaches a scheduler without TLS runs code on its workers.
    """
    if find_spec("distributed") is None:
        message = f"{SCHEDULER}: the package distributed is not installed; run make cluster"
        raise RootstockError(message, key="cluster-not-installed")
    scheme, host = _scheme_and_host(address)
    if scheme == "tls" or (scheme == "tcp" and _is_loopback(host) and os.environ.get(TLS, "").lower() == "off"):
        return
    if scheme != "tcp":
        message = f"{SCHEDULER}: {address} is no scheduler's address, such as tls://scheduler.example:8786"
        raise RootstockError(message, key="scheduler-address")
    remedy = f"; on this machine alone, {TLS}=off allows it" if _is_loopback(host) else ""
    message = (
        f"{SCHEDULER}: {address} has no TLS, so that anyone who reaches it can run code on the workers; start the "
        f"cluster with certificates, and use its tls:// address{remedy}"
    )
    raise RootstockError(message, key="scheduler-without-tls")


def _scheme_and_host(address: str) -> tuple[str, str]:
    """Returns the parts of an address; empty texts if it is not one of a scheduler."""
    with suppress(ValueError):
        url = urlsplit(address)
        if url.port and url.hostname and not url.username and address.startswith(("tcp://", "tls://")):
            return url.scheme, url.hostname
    return "", ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
