"""Choose: compares pretrained backbones by probes on the images, and takes the quickest that is as good as the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.core.params import CHOICE, PINS, Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import AUTO
from tasks.core.sections import BackboneParams, ComputeParams

if TYPE_CHECKING:
    import pandas as pd

    from tasks.selection.candidates import BackboneCandidate
    from tasks.selection.choice import Choice
    from tasks.selection.options import Option


class ChooseParams(StageParams):
    """The parameters that choose reads."""

    backbone: BackboneParams
    compute: ComputeParams


class ChooseReport(Section):
    """The chosen architecture and input size (pixels), and the number of options."""

    architecture: str
    crop: int
    options: int


def choose(paths: Paths, params: ChooseParams) -> ChooseReport:
    """Writes the chosen weights and choice.json.

    A choice that is pinned in data/pins.json is kept as long as it is among the candidates. Raises RootstockError if a
    candidate cannot be loaded.
    """
    import torchvision  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.files import read_json
    from tasks.core.progress import say
    from tasks.data.manifest import read_manifest
    from tasks.models.backbone import assumption_of
    from tasks.models.weights_file import read_description
    from tasks.selection.candidates import read_candidates
    from tasks.selection.choice import Choice
    from tasks.selection.sample import labeled

    rows = labeled(read_manifest(paths.manifest))
    candidates = of_architecture(read_candidates(paths.candidates), params.backbone.architecture)
    pinned = Choice.of(fields) if (fields := read_json(PINS)[CHOICE]) else None
    choice = pinned if pinned and pinned.among(candidates) else compare(paths, params, candidates, rows)
    write_backbone(paths, params.backbone, candidates, choice)
    choice.save(paths.choice)
    if assumption := assumption_of(choice.architecture, read_description(paths.pretrained)):
        say(assumption)
    say(f"backbone: {choice.describe(len(rows))}")
    return ChooseReport(architecture=choice.architecture, crop=choice.crop, options=max(len(choice.table), 1))


def of_architecture(candidates: list[BackboneCandidate], architecture: str) -> list[BackboneCandidate]:
    """Returns the candidates of a named architecture, or all for `auto`. Raises RootstockError if there are none."""
    from tasks.core.errors import RootstockError

    fitting = [each for each in candidates if architecture in {AUTO, each.architecture}]
    if not fitting:
        raise RootstockError(
            f"backbone.architecture: no weights of {architecture} have been brought in; run make data",
            key="backbone.architecture",
        )
    return fitting


def compare(paths: Paths, params: ChooseParams, candidates: list[BackboneCandidate], rows: pd.DataFrame) -> Choice:
    """Returns the choice among the candidates at their sizes; a single option is chosen without looking."""
    from tasks.core.schema import Column
    from tasks.core.target import TargetSpec
    from tasks.data.decoding import load
    from tasks.selection.choice import Choice, Row
    from tasks.selection.compare import Comparison
    from tasks.selection.rule import chosen

    options = options_of_all(paths, params.backbone, candidates, rows)
    option, table = options[0], tuple[Row, ...]()
    if len(options) > 1 and rows[Column.GROUP].nunique() > 1:
        target = TargetSpec.load(paths.task)
        decoding = load(paths.decoding)
        comparison = Comparison(paths.candidates, paths.raw, target, params.backbone, params.compute, decoding)
        scored = comparison.run(options, rows)
        option = chosen(scored).option
        table = tuple(
            Row(each.option.name, each.score, each.standard_error, each.images, each.flops / 1e9) for each in scored
        )
    candidate = option.candidate
    identity = (candidate.architecture, candidate.sha256, candidate.license)
    return Choice(*identity, option.resize, option.crop, len(rows), table)


def options_of_all(
    paths: Paths, backbone: BackboneParams, candidates: list[BackboneCandidate], rows: pd.DataFrame
) -> list[Option]:
    """Returns the options of all candidates; sizes given in the parameters are the only ones."""
    from tasks.core.schema import Column
    from tasks.models.backbone import preprocessing_of
    from tasks.models.weights_file import read_description
    from tasks.selection.options import options_of

    is_free = backbone.architecture == AUTO and not (backbone.resize or backbone.crop)
    median_side = float(rows[[Column.WIDTH, Column.HEIGHT]].min(axis=1).median())
    options: list[Option] = []
    for candidate in candidates:
        sizes = (backbone.resize, backbone.crop)
        own = preprocessing_of(
            candidate.architecture, read_description(paths.candidates / candidate.file), *sizes, backbone.letterbox
        )
        every = options_of(candidate, (own.resize, own.crop), median_side, len(rows))
        options += every if is_free else every[:1]
    return options


def write_backbone(paths: Paths, backbone: BackboneParams, candidates: list[BackboneCandidate], choice: Choice) -> None:
    """Writes the chosen weights: a copy, or, if chosen automatically, with architecture and size in the description."""
    import shutil
    from dataclasses import replace

    from tasks.core.files import replacing
    from tasks.models.backbone import ARCHITECTURE, preprocessing_fields, preprocessing_of
    from tasks.models.weights_file import read, write

    candidate = choice.among(candidates)
    assert candidate, "the choice is among the candidates"  # noqa: S101 - for the type checker
    file = paths.candidates / candidate.file
    if backbone.architecture != AUTO:
        with replacing(paths.pretrained) as beside:
            shutil.copyfile(file, beside)
        return
    state, description = read(file)
    own = preprocessing_of(choice.architecture, description, None, None)
    sized = replace(own, resize=choice.resize, crop=choice.crop)
    description = {**description, ARCHITECTURE: choice.architecture, "preprocessing": preprocessing_fields(sized)}
    write(paths.pretrained, state, description)
