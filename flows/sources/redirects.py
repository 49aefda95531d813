"""Refuses redirections of a web server that lead to this machine's network, or from https to http."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from types import SimpleNamespace
from urllib.parse import urljoin, urlsplit

import aiohttp


def tracing() -> aiohttp.TraceConfig:
    """Returns the configuration for an aiohttp session that raises PermissionError for such redirections."""
    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(_check)
    return config


async def _check(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, event: aiohttp.TraceRequestRedirectParams
) -> None:
    """Compares where a request leads with where it came from. The request for it has not been sent yet."""
    location = event.response.headers.get("Location") or event.response.headers.get("URI") or ""
    origin = urlsplit(str(event.response.url))
    target = urlsplit(urljoin(origin.geturl(), location))
    if origin.scheme == "https" and target.scheme != "https":
        raise PermissionError(f"it redirects from https to {target.scheme}")
    if any(await _are_internal(target.hostname)) and not all(await _are_internal(origin.hostname)):
        raise PermissionError(f"it redirects to {target.hostname}, which is not on the public internet")


async def _are_internal(host: str | None) -> list[bool]:
    """Returns of each address of a host whether it is not of the public internet."""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # behind a proxy, names may be unknown here
        return [False]
    return [not ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in addresses]
