"""A Dask scheduler and workers of this checkout, in processes on loopback, for tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.project import ROOT, environment, wait_until

LOOPBACK = "127.0.0.1"


class DaskCluster:
    """A scheduler, and workers of one thread each."""

    def __init__(self, folder: Path, protocol: str = "tcp", **variables: str) -> None:
        self.folder, self.variables, self.protocol = folder, variables, protocol
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    @property
    def address(self) -> str:
        return (self.folder / "address").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """Returns what the client needs."""
        return {"ROOTSTOCK_SCHEDULER": self.address, "ROOTSTOCK_SCHEDULER_TLS": "off", **self.variables}

    def start_scheduler(self, port: int = 0) -> subprocess.Popen[bytes]:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        options = ("--port", str(port), "--protocol", self.protocol, "--scheduler-file", str(file))
        scheduler = self._start("scheduler", *options)
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), 60)
        address = next(line for line in file.read_text().splitlines() if '"address"' in line).split('"')[3]
        (self.folder / "address").write_text(address)
        return scheduler

    def add_worker(self, root: Path = ROOT, threads: int = 1) -> subprocess.Popen[bytes]:
        worker = self._start("worker", self.address, "--nthreads", str(threads), "--no-nanny", root=root)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _start(self, command: str, *arguments: str, root: Path = ROOT) -> subprocess.Popen[bytes]:
        more = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **self.variables}
        log = (self.folder / f"{command}.log").open("ab")
        dask = str(Path(sys.executable).with_name("dask"))
        loopback = ("--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0")
        return subprocess.Popen([dask, command, *loopback, *arguments], env=environment(**more), stdout=log, stderr=log)


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[DaskCluster]:
    """Starts a cluster without TLS, and tells this process's `spread` of it."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(folder)
    before = dict(os.environ)
    try:
        for _worker in range(workers):
            cluster.add_worker()
        os.environ |= cluster.environment
        yield cluster
    finally:
        os.environ.clear()
        os.environ |= before
        cluster.stop()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def certificates(folder: Path) -> dict[str, str]:
    """Writes a certificate that signs itself, with its key. Returns Dask's settings for all sides."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    prefix, files = "DASK_DISTRIBUTED__COMM__TLS__", {"CERT": "cert.pem", "KEY": "key.pem"}
    sides = {f"{side}__{part}": file for side in ("SCHEDULER", "WORKER", "CLIENT") for part, file in files.items()}
    return {f"{prefix}{name}": str(folder / file) for name, file in {"CA_FILE": "cert.pem", **sides}.items()}
