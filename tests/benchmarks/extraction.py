"""Feature extraction from JPEG files, 224 pixels, vs. the machine's limit and vs. peers with the same network."""

from __future__ import annotations

import os
import sys
import tempfile
from itertools import product
from pathlib import Path

from PIL import Image

from tasks.reports.page import markdown_table
from tests.benchmarks.drawing import bars
from tests.benchmarks.results import Results, assets_folder, machine, middle
from tests.benchmarks.speed import SCRIPTS, environment_of_peers, output
from tests.project import ROOT

ROUNDS = 5
IMAGES = 512
NETWORKS = ("mobilenet_v2", "resnet50")
WAYS = ("as it is", "compiled")
PEERS = ("timm", "fastai", "transformers")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
HOW = ("as it comes", "bfloat16, channels last")

OURS = """
import sys, time
from pathlib import Path
from statistics import median
import torch
import torch.nn.functional as F
from tasks.models.backbone import Backbone, torchvision_preprocessing, embed
from tasks.embedding.compiled import compiled
from tasks.hardware.precision import device_for
from tasks.embedding.spreading import extract
from tasks.data.image_files import find
from tasks.images.loading import ImageSquares
from tasks.scorer.architectures import build_backbone
from tasks.images.transforms import RenderStyle
name, root, how, on, batch = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
torch.manual_seed(0)
files = find(root)[0]
module, width = build_backbone(name)
module.requires_grad_(False)
backbone = Backbone(module.eval(), width, torchvision_preprocessing(name)).folded()
module = backbone.module
device = device_for(on, "auto", module, backbone.preprocessing.crop)
if how == "compiled":
    backbone = compiled(backbone, device, batch)
    module = backbone.module
list(extract(root, files[: 2 * batch], backbone, device, RenderStyle(), batch))
def timed(work):
    started = time.perf_counter()
    work()
    return len(files) / (time.perf_counter() - started)
squares = ImageSquares(root, files, backbone.preprocessing, memory=0)
x = device.place(backbone.preprocessing.network_input(squares[range(batch)]))
device.place(module)
def forward():
    with device.autocast():
        for _ in range(len(files) // batch):
            output = embed(module, x)
    output.sum().item()  # what a GPU computes has then been waited for
works = (
    lambda: list(extract(root, files, backbone, device, RenderStyle(), batch)),
    lambda: [squares[range(n, min(n + batch, len(files)))] for n in range(0, len(files), batch)],
    forward,
)
rates = [[timed(work) for work in works] for _ in range(3)]  # in turn, as the machine's speed varies
print(*(median(values) for values in zip(*rates)))
"""


def run(results: Results) -> str:
    """Returns the benchmark's tables."""
    python = environment_of_peers()
    with tempfile.TemporaryDirectory() as folder:
        root = draw(Path(folder) / "pictures", assets_folder())
        rounds = [results.measured(f"round {n}", lambda: one(root, python)) for n in range(ROUNDS)]
    rows = []
    for name, way in product(NETWORKS, WAYS):
        whole, decode, forward = zip(*(rates[f"{name}, {way}"] for rates in rounds), strict=True)
        shares = [
            100 * w * (1 / d + 1 / f) for w, d, f in zip(whole, decode, forward, strict=True)
        ]  # percentage of 1 / (1 / decode + 1 / forward)
        rows.append([f"{name}, {way}", *(middle(rates, 0) for rates in (whole, decode, forward, shares))])
    first = markdown_table(
        ["", "extraction, images/s", "decode and resize alone", "forward alone", "of what both allow, %"], rows
    )
    rates = {f"Rootstock, {way}": [result[f"resnet50, {way}"][0] for result in rounds] for way in reversed(WAYS)}
    rates |= {f"{peer}, {how}": [result[f"{peer}, {how}"] for result in rounds] for how, peer in product(HOW, PEERS)}
    bars("extraction", {"ResNet-50": rates}, "JPEG files a second, 224 pixels, 2 cores", high=None)
    beside = []
    for peer, how in product(PEERS, HOW):
        ratios = [
            middle([result[f"resnet50, {way}"][0] / result[f"{peer}, {how}"] for result in rounds], 2) for way in WAYS
        ]
        beside.append([f"{peer}, {how}", middle(rates[f"{peer}, {how}"]), *ratios])
    columns = ["ResNet-50", "images/s", *(f"ours {way} / that" for way in WAYS)]
    return f"{first}\n\n{markdown_table(columns, beside)}\n\n{ROUNDS} rounds of {IMAGES} JPEG files; {machine()}"


def one(root: Path, python: Path) -> dict[str, object]:
    """Returns the rates of Rootstock and its peers, measured one after another."""
    rates: dict[str, object] = {}
    for name, way in product(NETWORKS, WAYS):
        rates[f"{name}, {way}"] = ours(root, name, way, "cpu", 64)
    for peer in PEERS:
        for how in HOW:
            fast = "fast" if how != HOW[0] else "plain"
            printed = output(
                [str(python), str(SCRIPTS / "extract.py"), peer, str(root), fast], env=ENVIRONMENT, cwd=root
            )
            rates[f"{peer}, {how}"] = float(printed.split()[-1])
    return rates


def ours(root: Path, name: str, way: str, device: str, batch: int) -> list[float]:
    """Returns images per second of extraction, of decoding and resizing alone, and of the forward pass alone."""
    printed = output([sys.executable, "-c", OURS, name, str(root), way, device, str(batch)], env=ENVIRONMENT)
    return [float(word) for word in printed.split()[-3:]]


def draw(folder: Path, assets: Path) -> Path:
    """Writes JPEG files of the ants and bees in their original size, repeated until there are enough."""
    sources = sorted((assets / "hymenoptera").rglob("*.jpg"))
    for number in range(IMAGES):
        target = folder / ("a", "b")[number % 2] / f"{number:04d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(sources[number % len(sources)]).convert("RGB").save(target, quality=90)
    return folder
