"""torchattacks' AutoAttack (APGD-CE, APGD-T, FAB-T, Square) on a model and images; prints accuracy before and after."""

import sys
from pathlib import Path

import torch
import torchattacks
from safetensors.torch import load_file

from tasks.scorer.answer import Scorer

spec, weights, pictures, radius = sys.argv[1:]
torch.manual_seed(0)
scorer, images = Scorer.load(Path(spec), Path(weights)), load_file(pictures)
x, y = images["x"], images["y"]


class Pixels(torch.nn.Module):
    def forward(self, x):
        return scorer.network(scorer.preprocessing.normalize(x))


network = Pixels().eval()
attack = torchattacks.AutoAttack(network, norm="Linf", eps=float(radius), version="standard", n_classes=10, seed=0)
attacked = torch.cat([attack(x[n : n + 50], y[n : n + 50]) for n in range(0, len(x), 50)])
assert (attacked - x).abs().max() <= float(radius) + 1e-4
with torch.inference_mode():
    for pixels in (x, attacked):
        print((network(pixels).argmax(1) == y).float().mean().item())
