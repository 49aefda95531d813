"""Choice of a backbone: what it loses against the best option, with 40, 100 and 500 images, on photos and characters.

A seed draws the images, as many of each class. An option's accuracy is that of a probe on all drawn images, on test
images; the best option is the one with the highest mean accuracy over all seeds. Candidates are the default ones and
ImageNet's MobileNetV2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from flows.sources.packaged_weights import PACKAGES, packaged
from tasks.choose import ChooseParams, options_of_all
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.target import TargetSpec
from tasks.embedded.digits import digits
from tasks.heads.kinds import LinearFit, fit_linear
from tasks.reports.page import markdown_table
from tasks.scorer.decode import DEFAULT
from tasks.selection.candidates import BackboneCandidate
from tasks.selection.compare import Comparison
from tasks.selection.options import Option
from tasks.selection.probe import best_penalty, problem_of, score_parts
from tasks.selection.rule import chosen, standard_error
from tests.benchmarks.results import Results, assets_folder, machine, spread
from tests.benchmarks.sets import GLYPHS, some, unpacked

SEEDS = 20
TEST = 1000  # test images of a set
LEFT_OVER = 153  # test images of a set that has none of its own
POOL = 2000  # images from which a seed draws
COUNTS = (40, 100, 500)


class ImageSet(NamedTuple):
    """Images below a folder, from which seeds draw, and test images; `pool` and `test` are rows of a manifest."""

    raw: Path
    pool: pd.DataFrame
    test: pd.DataFrame


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = list(chain.from_iterable(_of_set(results, name, root, assets) for name in SETS))
    columns = ["images", "number", "chosen", "best", "accuracy of the chosen", "of the best", "regret"]
    columns += ["a paired standard error", "cost, share of the best's"]
    return f"{markdown_table(columns, rows)}\n\n{SEEDS} seeds, mean ± standard deviation; {machine()}"


def _of_set(results: Results, name: str, root: Path, assets: Path) -> Iterator[list[str]]:
    """Yields a line of the table for each number of images."""
    images = SETS[name](root, assets)
    study = ChoiceStudy(root, assets, images)
    most = len(images.pool) if len(images.test) else len(images.pool) - LEFT_OVER
    for count in sorted({min(count, most) for count in COUNTS}):
        seeds = [
            results.measured(f"{name}, {count} images, seed {seed}", partial(study.one, count, seed))
            for seed in range(SEEDS)
        ]
        yield [name, str(count), *_summary(seeds)]


def _summary(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Summarizes the seeds' choices, and the accuracies and paired standard errors of the options."""
    accuracy = pd.DataFrame([seed["accuracy"] for seed in seeds])
    best = str(accuracy.mean().idxmax())
    own = [seed["accuracy"][seed["chosen"]] for seed in seeds]
    cost = [seed["flops"][seed["chosen"]] / seed["flops"][best] for seed in seeds]
    times = pd.Series([seed["chosen"] for seed in seeds]).value_counts()
    choices = ", ".join(f"{option} ({count})" for option, count in times.items())
    regret = spread(accuracy[best] - own)
    errors = spread([seed["errors"][best] for seed in seeds])
    return [choices, best, spread(own), spread(accuracy[best]), regret, errors, spread(cost, 2)]


class Remembering(Comparison):
    """Compares options by features that are computed once for all images."""

    def __init__(self, files: Sequence[str], *args: Any) -> None:
        super().__init__(*args)
        self._place = {file: number for number, file in enumerate(files)}
        self._known: dict[Option, tuple[Tensor, float]] = {}

    def features(self, option: Option, files: Sequence[str]) -> tuple[Tensor, float]:
        """Returns the features of images, computed for all at the first call, and the cost."""
        if option not in self._known:
            self._known[option] = super().features(option, list(self._place))
        x_ND, flops = self._known[option]
        return x_ND[[self._place[file] for file in files]], flops


class ChoiceStudy:
    """Chooses among the options for drawn images, and scores every option on test images."""

    def __init__(self, root: Path, assets: Path, images: ImageSet) -> None:
        params = ChooseParams.load()
        rows = pd.concat([images.pool, images.test], ignore_index=True)
        self._images = images
        self._target = TargetSpec(classes=tuple(sorted(rows[Column.LABEL].unique())))
        paths = Paths(**{**read_document(PARAMS_FILE)["paths"], "candidates": root})
        self._options = options_of_all(paths, params.backbone, _candidates(root, assets), rows)
        where = (root, images.raw, self._target, params.backbone, params.compute, DEFAULT)
        self._comparison = Remembering(rows[Column.PATH].tolist(), *where)

    def one(self, count: int, seed: int) -> dict[str, Any]:
        """Returns the choice on `count` images, and each option's accuracy, cost, and paired error to the chosen."""
        rows, test = self._drawn(count, seed)
        taken = chosen(self._comparison.run(self._options, rows)).option
        problem = problem_of(rows, self._target)
        parts = {option: score_parts(self._features(option, rows), problem) for option in self._options}
        return {
            "chosen": taken.name,
            "accuracy": {option.name: self._accuracy(option, rows, test) for option in self._options},
            "errors": {option.name: 100 * standard_error(part_U - parts[taken]) for option, part_U in parts.items()},
            "flops": {option.name: self._comparison.features(option, [])[1] for option in self._options},
        }

    def _drawn(self, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Returns `count` images, as many of each class, and test images: of a set without, those left over."""
        pool, test = self._images.pool, self._images.test
        rows = some(pool, count // len(self._target.classes), seed)
        test = test if len(test) else pool.drop(rows.index).sample(LEFT_OVER, random_state=seed)
        return rows.reset_index(drop=True), test

    def _features(self, option: Option, rows: pd.DataFrame) -> Tensor:
        return self._comparison.features(option, rows[Column.PATH].tolist())[0]

    def _accuracy(self, option: Option, rows: pd.DataFrame, test: pd.DataFrame) -> float:
        """Returns the test accuracy, in percent, of a probe on all rows."""
        x_ND, problem = self._features(option, rows), problem_of(rows, self._target)
        test_y_N = torch.from_numpy(self._target.encode(test))
        fit = LinearFit(self._target, (best_penalty(x_ND, problem),))
        train = (x_ND, problem.y, torch.ones(len(rows)))
        return 100 * fit_linear(train, (self._features(option, test), test_y_N), fit)[0].score


def _candidates(root: Path, assets: Path) -> list[BackboneCandidate]:
    package, entry = next(iter(PACKAGES.items()))
    lite = packaged(package, entry.architecture, root, "backbone.weights")
    files = {"resnet10": GLYPHS, entry.architecture: lite, "mobilenet_v2": assets / "weights" / "mobilenet_v2.pth"}
    return [BackboneCandidate(architecture, str(file), file.name, "") for architecture, file in files.items()]


def _rows(raw: Path, files: Sequence[Path], count: int) -> pd.DataFrame:
    """Returns the rows of `count` random images, each a group of its own; the class is the folder's name."""
    order = np.random.default_rng(0).permutation(len(files))[:count]
    table = [
        (str(files[place].relative_to(raw)), files[place].parent.name, *Image.open(files[place]).size)
        for place in order
    ]
    rows = pd.DataFrame(table, columns=[Column.PATH, Column.LABEL, Column.WIDTH, Column.HEIGHT])
    return rows.assign(**{Column.GROUP: rows[Column.PATH], Column.PIXEL_HASH: rows[Column.PATH]})


def _hymenoptera(_root: Path, assets: Path) -> ImageSet:
    raw = assets / "hymenoptera"
    pool = _rows(raw, sorted(raw.rglob("*.jpg")), POOL)
    return ImageSet(raw, pool, pool[:0])


def _of_archive(archive: str, below: str, root: Path, _assets: Path) -> ImageSet:
    raw = unpacked(root / archive.partition(".")[0], archive)
    parts = [sorted((raw / below / part).rglob("*.[jp][pn]g")) for part in ("train", "test")]
    return ImageSet(raw, _rows(raw, parts[0], POOL), _rows(raw, parts[1], TEST))


def _digits(root: Path, _assets: Path) -> ImageSet:
    raw = root / "digits"
    for image_HW, digit, _, number in digits():
        (raw / str(digit)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HW).save(raw / str(digit) / f"{number:04d}.png")
    rows = _rows(raw, sorted(raw.rglob("*.png")), POOL)
    return ImageSet(raw, rows[TEST:], rows[:TEST])


SETS: Mapping[str, Callable[[Path, Path], ImageSet]] = {
    "hymenoptera": _hymenoptera,
    "CIFAR-10": partial(_of_archive, "cifar10_jpg.tar.gz", "cifar10_jpg"),
    "digits": _digits,
    "USPS": partial(_of_archive, "digits_mnist_usps.tar.gz", "usps"),
}
