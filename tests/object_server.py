"""An S3 server on this machine: SeaweedFS, with one user, on free ports of loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.project import environment, wait_until

KEY, SECRET = "rootstock-tests", "canary5ecret-of-tests"
ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
BUCKETS = count()


@dataclass(frozen=True)
class ObjectServer:
    """A running server."""

    url: str
    metrics: str

    def variables(self, **more: str) -> dict[str, str]:
        """Returns the environment with which boto3, s3fs, DVC and MLflow use this server."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **more,
        }

    @cached_property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )

    def bucket(self) -> Bucket:
        """Creates a bucket of its own for a test."""
        name = f"bucket-{os.getpid()}-{next(BUCKETS)}"
        self.client.create_bucket(Bucket=name)
        return Bucket(self, name)

    def gets(self) -> int:
        """Returns how many objects were read so far: the server's own count of GET requests for objects."""
        with urllib.request.urlopen(self.metrics) as answer:
            text = answer.read().decode()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in text.splitlines()
            if line.startswith("SeaweedFS_s3_request_total") and 'type="GET"' in line
        )


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server."""

    server: ObjectServer
    name: str

    def put(self, key: str, content: bytes) -> None:
        self.server.client.put_object(Bucket=self.name, Key=key, Body=content)

    def allow(self, policy: dict[str, object]) -> None:
        """Sets the bucket's policy."""
        self.server.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))

    def delete(self, key: str) -> None:
        self.server.client.delete_object(Bucket=self.name, Key=key)

    def upload(self, folder: Path, prefix: str) -> str:
        """Uploads a folder. Returns its address."""
        client = self.server.client
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=self.name, Key=key, Body=file.read_bytes())
        return f"s3://{self.name}/{prefix}"


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Runs a server for the tests of one worker."""
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    """Runs a server that stores its objects in `folder`."""
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names), "metrics"], free_ports(9), strict=True))
    config = folder / "users.json"
    user = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ACTIONS}
    config.write_text(json.dumps({"identities": [user]}))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["weed", *_options(folder, ports)], stdout=log, stderr=log, env=environment(), cwd=folder
        )
    server = ObjectServer(f"http://127.0.0.1:{ports['s3']}", f"http://127.0.0.1:{ports['metrics']}/metrics")
    try:
        wait_until(lambda: _answers(server, process, folder / "log"))
        yield server
    finally:
        process.kill()
        process.wait()


def _options(folder: Path, ports: Mapping[str, int]) -> list[str]:
    numbers = {
        **{f"{name}.port": ports[name] for name in ("master", "volume", "filer", "s3")},
        **{f"{name}.port.grpc": ports[f"{name}.grpc"] for name in ("master", "volume", "filer", "s3")},
        "metricsPort": ports["metrics"],
    }
    return [
        *("server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.electionTimeout=1s"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=1000", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
        *(f"-s3.config={folder}/users.json", *(f"-{name}={port}" for name, port in numbers.items())),
    ]


def _answers(server: ObjectServer, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-3000:]
    try:
        server.client.list_buckets()
    except Exception:  # it is starting
        time.sleep(0.2)
        return False
    return True
