"""Addresses of images elsewhere, such as s3://bucket/images: which are read, and what each kind needs."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from tasks.core.errors import ParamsError, RootstockError
from tasks.core.redaction import redact
from tasks.data.archives import SUFFIXES, is_archive

ADDRESS = re.compile(r"(?:[\w+.-]+::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz")


class Service(NamedTuple):
    """A kind of server: the package that reads it, the make target that installs that, and what gives credentials."""

    package: str
    group: str
    credentials: str


S3 = Service(
    *("s3fs", "s3"),
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket, set FSSPEC_S3_ANON=true",
)
GCS = Service(*("gcsfs", "gcs"), "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket, set FSSPEC_GS_TOKEN=anon")
AZURE = Service(*("adlfs", "azure"), "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
SSH = Service(*("sshfs", "ssh"), "the keys of ~/.ssh and of ssh-agent are used: see whether ssh logs in")
HTTP = Service(*("aiohttp", ""), "put the login in ~/.netrc")  # installed with Rootstock
SERVICES = {"s3": S3, "gs": GCS, "gcs": GCS, "az": AZURE, "abfs": AZURE, "abfss": AZURE}
SERVICES |= {"ssh": SSH, "sftp": SSH, "http": HTTP, "https": HTTP}
WITH_USER = {"ssh", "sftp", "abfs", "abfss"}  # user@host, container@account: no secrets


def is_address(name: str) -> bool:
    """Returns whether data.source is an address rather than a path."""
    return bool(ADDRESS.match(name))


def protocol_of(address: str) -> str:
    """Returns the part before `://`, in lower case."""
    return address.partition("://")[0].lower()


def file_name(address: str) -> str:
    """Returns the name of the archive or table that an address leads to; empty for a folder."""
    path = urlsplit(address).path if SERVICES[protocol_of(address)] is HTTP else address
    name = PurePosixPath(path).name
    return name if name.lower().endswith((*SUFFIXES, *TABLE_SUFFIXES)) else ""


def check_address(address: str) -> None:
    """Raises an error if the address cannot be read: its kind, credentials in it, or a package that is not installed.

    ParamsError, with the key data.source; RootstockError, with source-package-missing. Asks no server.
    """
    if remedy := _mistake(address):
        raise ParamsError(f"data.source: {address}: {remedy}", key="data.source")
    service = SERVICES[protocol_of(address)]
    if find_spec(service.package) is None:
        message = f"data.source: {address} needs the package {service.package}; run make {service.group}"
        raise RootstockError(message, key="source-package-missing")


def _mistake(address: str) -> str | None:
    """Returns what is wrong with an address and what to do, or None."""
    protocol = protocol_of(address)
    if "::" in address:
        return "addresses in addresses are not read; give the address of a folder or an archive"
    if protocol not in SERVICES:
        return f"{protocol}:// is not read; give a path, or an address that begins with {', '.join(SERVICES)}"
    if _has_credentials(address):
        return f"an address may not contain credentials, since it is recorded; {SERVICES[protocol].credentials}"
    if not urlsplit(address).netloc:
        return "the bucket or host is missing"
    if SERVICES[protocol] is HTTP and not is_archive(Path(file_name(address))):
        return "web servers do not list folders; give the address of a .zip or .tar archive"
    return None


def _has_credentials(address: str) -> bool:
    server = urlsplit(address).netloc
    user, _, host = server.rpartition("@")
    if user and (":" in user or protocol_of(address) not in WITH_USER):
        return True
    return redact(address.replace(server, host, 1)) != address.replace(server, host, 1)
