"""Throughput and latency of make serve: JPEGs and tensors, against the bare network and other servers.

Clients share the cores with the server. All parts are measured within minutes of each other.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from tests.benchmarks.results import Results, machine
from tests.flows.serving.running import Releases, Server, checkout
from tests.project import ROOT

ARCHITECTURE, SIDE = "mobilenet_v2", 224
SECONDS, CLIENTS, ROUNDS = 12.0, 8, 3
LOADS = (0.3, 0.7, 0.9)
PARTS = """
import json, sys, time
from pathlib import Path
import torch
from tasks.evaluation.scorer_code import digest_of, read_code
from tasks.evaluation.version_scorer import VersionScorer, scorer_kind
from tasks.serving.engine import Engine, one_thread_each
folder, picture = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
spec, weights = folder / "spec.json", folder / "model.safetensors"
digest = digest_of(read_code(folder, spec.read_bytes()), spec.read_bytes(), weights)
scorer = VersionScorer(spec, weights, digest)()
engine = Engine(scorer, scorer_kind(scorer), 10**9)
one_thread_each()
x = torch.zeros(1, 3, engine.side, engine.side)
def cost(work, count):
    for _ in range(5):
        work()
    began = time.process_time()
    for _ in range(count):
        work()
    return 1000 * (time.process_time() - began) / count
forward = cost(lambda: engine.of_input(x), 100)
print(json.dumps([forward, cost(lambda: engine.of_picture(picture), 100) - forward]))
"""


def run(results: Results) -> str:
    """Returns a table of throughput and latency."""
    rounds = [results.measured(f"round {number}", measured) for number in range(ROUNDS)]
    lines = ["| | median | lowest | highest |", "|---|---|---|---|"]
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        lines.append(f"| {name} | {statistics.median(values):.3g} | {min(values):.3g} | {max(values):.3g} |")
    return "\n".join([*lines, "", f"{ARCHITECTURE} at {SIDE} pixels, {machine()}, torch {torch.__version__}"])


def measured() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as server:
        folder = Path(place)
        jpeg = request("/predict", "image/jpeg", photograph(), folder / "jpeg")
        empty = request("/predict", "image/jpeg", b"x", folder / "empty")
        tensor = request(*infer_request(), folder / "tensor")
        (folder / "photograph").write_bytes(photograph())
        (version,) = (folder / "checkout" / ".state" / "serve" / "versions").iterdir()
        forward, decode = parts(version, folder / "photograph")
        answers, _, _ = asked(server, empty, 5)
        figures = {"F: forward, ms": forward, "D: decode and resize, ms": decode}
        answers, cpu, clients = asked(server, empty)
        figures["H: empty request, ms CPU of the server"] = 1000 * cpu / len(answers)
        figures["client, ms CPU a request"] = 1000 * clients / len(answers)
        cores = psutil.cpu_count()
        for name, file, work in (("JPEG", jpeg, forward + decode), ("tensor", tensor, forward)):
            answers, cpu, clients = asked(server, file)
            assert all(status == 200 for _, _, status, _ in answers)
            rate = len(answers) / SECONDS
            most = 1000 * cores / (work + figures["H: empty request, ms CPU of the server"])
            spent = 1000 * clients / len(answers)
            figures[f"{name}: answers a second"] = rate
            figures[f"{name}: of cores / (work + H)"] = rate / most
            with_clients = 1000 * cores / (1000 * cores / most + spent)
            figures[f"{name}: of cores / (work + H + client)"] = rate / with_clients
            figures[f"{name}: of the bare network"] = rate * forward / 1000 / cores
            if name == "JPEG":
                figures |= latencies(server, file, rate)
        return figures


def latencies(server: Server, file: Path, highest: float) -> dict[str, float]:
    """Returns p50 and p99 in ms at shares of the highest rate."""
    figures = {}
    for share in LOADS:
        answers, _, _ = asked(server, file, rate=share * highest)
        taken = [1000 * latency for _, latency, _, _ in answers]
        for percent in (50, 99):
            figures[f"p{percent} at {share:.0%} load, ms"] = float(np.percentile(taken, percent))
    return figures


@contextmanager
def served(folder: Path):
    root = checkout(folder / "checkout")
    with closing(Releases(root, 1, ARCHITECTURE, SIDE)) as releases:
        releases.act("promote 1")
    with closing(Server(root)) as server:
        server.wait_for("1")
        yield server


def parts(version: Path, picture: Path) -> list[float]:
    """Returns F and D, in ms of one core a picture."""
    command = [sys.executable, "-c", PARTS, str(version), str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def asked(server: Server, file: Path, seconds: float = SECONDS, rate: float = 0.0):
    """Returns the answers of clients, and the processor time of the server and of the clients."""
    processes = [psutil.Process(server.process.pid), *server.children()]
    before = sum(used(process) for process in processes)
    load = start_load(server.address, file, seconds, rate)
    watched, spent = psutil.Process(load.pid), 0.0
    while load.poll() is None:
        try:
            spent = used(watched)
            answers = load.communicate(timeout=0.2)[0]
        except (psutil.Error, subprocess.TimeoutExpired):
            continue
    return json.loads(answers), sum(used(process) for process in processes) - before, spent


def start_load(address, file: Path, seconds: float, rate: float = 0.0) -> subprocess.Popen[str]:
    """Starts clients."""
    host, port = address
    command = [sys.executable, "-m", "tests.benchmarks.load", host, str(port), str(seconds), str(CLIENTS), str(rate)]
    return subprocess.Popen([*command, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def photograph() -> bytes:
    """Returns a JPEG of 640 x 480 pixels with structure at all scales."""
    rng = np.random.default_rng(0)
    scales = [Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)) for size in (4, 16, 64, 256)]
    layers = [np.asarray(layer.resize((640, 480), Image.Resampling.BICUBIC), float) for layer in scales]
    file = io.BytesIO()
    Image.fromarray((sum(layers) / len(layers)).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def infer_request() -> tuple[str, str, bytes]:
    """Returns path, content type and body of a binary tensor of one image."""
    values = np.zeros((1, 3, SIDE, SIDE), "<f4").tobytes()
    fields = {"name": "tensor", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE]}
    fields["parameters"] = {"binary_data_size": len(values)}
    head = json.dumps({"inputs": [fields]}).encode()
    headers = f"application/octet-stream\r\nInference-Header-Content-Length: {len(head)}"
    return "/v2/models/rootstock/infer", headers, head + values


def request(path: str, content_type: str, body: bytes, file: Path) -> Path:
    """Writes the bytes of a request. Returns the file."""
    headers = f"Host: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    head = f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n"
    file.write_bytes(head.encode() + body)
    return file
