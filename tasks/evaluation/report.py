"""Report parts shared by all target kinds. Shapes: N test images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.files import replacing, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, MAX_CLASSES_SHOWN, MAX_WORST_SHOWN, VALUE, Column, Metric
from tasks.data.slices import slices_of
from tasks.evaluation.candidates import EvaluationInput, Table
from tasks.objectives.search_report import CalibratedBy, RecipeFit, SearchReport
from tasks.reports import diagrams, image_sheets
from tasks.reports.page import PageSection, page
from tasks.selection.choice import Choice

CALIBRATION_TEXTS = {
    CalibratedBy.OTHER_HALF: ", and the fine-tuned model's temperature and thresholds on the others",
    CalibratedBy.OUT_OF_FOLD: (
        ". The fine-tuned model's temperature and thresholds rest on the same images, each with the output of a model "
        "that was chosen without it"
    ),
    CalibratedBy.NOTHING: "",
}


def write_table(file: Path, table: pd.DataFrame, float_format: str = "%.4f", *, index: bool = False) -> None:
    """Writes the table to `file` as CSV."""
    with replacing(file) as temporary:
        table.to_csv(temporary, index=index, float_format=float_format)


def write_slices(case: EvaluationInput, score_N: np.ndarray, metric: Metric, float_format: str = "%.4f") -> None:
    """Writes the mean score of each slice, from scores (N,). Raises ParamsError if the manifest lacks a column."""
    rows = [
        (name, int(inside_N.sum()), float(score_N[inside_N].mean()))
        for name, inside_N in slices_of(case.test, case.section.slices)
    ]
    write_table(case.paths.slices, pd.DataFrame(rows, columns=["slice", "images", metric]), float_format)


def draw_candidates(paths: Paths, table: Table, metric: Metric, label: str, *, percent: bool) -> None:
    """Draws the candidates' scores with intervals, and the training curves."""
    scale, limit = (100, 100) if percent else (1, None)
    scores = {
        name: (scale * row[metric][VALUE], scale * row[metric][LOW], scale * row[metric][HIGH])
        for name, row in table.items()
    }
    diagrams.candidates(paths.comparison, scores, label, most=limit)
    lines = paths.curves.read_text(encoding="utf-8").splitlines()
    diagrams.curves(paths.curves_picture, [json.loads(line) for line in lines])


def most_confident(rows: pd.DataFrame, hit_N: np.ndarray, count: int) -> pd.DataFrame:
    """Returns at most `count` misclassified rows, given `hit_N` (N,), the most confident first."""
    return rows[~hit_N].nlargest(count, Column.PROBABILITY)


def draw_images(paths: Paths, files: pd.Series, captions: Sequence[str]) -> None:
    """Draws the images with the worst predictions, with captions."""
    image_sheets.thumbnails(paths.wrong, [paths.raw / file for file in files], captions)


def write_page(
    case: EvaluationInput, table: Table, intervals: str, sections: Sequence[PageSection], number_format: str = ".3f"
) -> None:
    """Writes the page: the candidates' metrics with the note `intervals`, training, `sections`, and sample views."""
    paths = case.paths
    metrics = list(next(iter(table.values())))
    columns = ["model", *(metric.replace("_", " ") for metric in metrics)]
    rows = [[name, *(interval_text(row[metric], number_format) for metric in metrics)] for name, row in table.items()]
    all_sections = [
        PageSection(text=basis_text(case) + intervals, columns=columns, rows=rows),
        PageSection(
            "From scratch, frozen or fine-tuned, with the same number of optimizer steps", picture=paths.comparison
        ),
        PageSection("Training", picture=paths.curves_picture),
        *sections,
        *search_sections(case.search),
        *choice_sections(paths),
        PageSection("Some training images and their views", picture=paths.preview),
    ]
    write_text(paths.results_page, page("Results on the test split", all_sections))


def basis_text(case: EvaluationInput) -> str:
    """Describes which images tested, chose and calibrated the models."""
    test, validation, search = len(case.test), len(case.validation), case.search
    text = f"{test} test images. "
    if search is None:
        chosen = "Penalty, epoch or interpolation, temperature and thresholds were chosen on"
        return f"{text}{chosen} {validation} validation images, which are none of these. "
    text += (
        f"The penalty of the head was chosen on {validation} validation images, the recipe and its interpolation on "
        f"{search.images} of them"
    )
    return f"{text}{CALIBRATION_TEXTS[search.calibrated_by]}. None of them is a test image. "


def search_sections(search: SearchReport | None) -> list[PageSection]:
    """Returns the table of the recipes that were compared, if there was a search."""
    if search is None:
        return []
    kept = search.best if search.alpha else None
    rows = [fit_cells(fit, is_kept=place == kept) for place, fit in enumerate(search.fits)]
    text = (
        f"{search.passes} image passes. Of each fit, the point between the probe (0) and its end (1) with the highest "
        "gain over the probe in validation loss, less half a standard error times its distance. "
    )
    text += (
        "As the highest of several, the kept gain is optimistic."
        if search.alpha
        else "No gain exceeds its part of the standard error, so the probe is kept."
    )
    columns = ["recipe", "rung", "lr", "epochs", "image passes", "point", "score", "loss below the probe's"]
    return [PageSection("Search for a recipe", text, columns=columns, rows=rows)]


def fit_cells(fit: RecipeFit, *, is_kept: bool) -> list[str | int]:
    """Returns a row of the table of recipes."""
    cells: list[str | int] = [
        f"{fit.recipe} (kept)" if is_kept else fit.recipe,
        fit.rung + 1,
        f"{fit.lr:g}",
        fit.epochs,
        fit.passes,
    ]
    if fit.failed:
        return [*cells, "", "", fit.failed]
    return [*cells, f"{fit.alpha:g}", f"{fit.score:.3f}", f"{fit.gain:+.4f} +- {fit.standard_error:.4f}"]


def choice_sections(paths: Paths) -> list[PageSection]:
    """Returns the table of the backbones that were compared, if there was a choice."""
    choice = Choice.load(paths.choice)
    rows = [
        [row.option, f"{row.score:.3f} +- {row.standard_error:.3f}", row.images, f"{row.gflops:.2f}"]
        for row in choice.table
    ]
    name = f"{choice.architecture} at {choice.crop} px"
    text = f"{name} was chosen: the quickest within one paired standard error of the best."
    columns = ["backbone", "cross-validated score of a linear probe", "images", "GFLOPs"]
    return [PageSection("Choice of the backbone", text, columns=columns, rows=rows)] if rows else []


def slices_section(paths: Paths) -> PageSection:
    """Returns the page section with the table of slices."""
    return table_section("Slices", paths.slices, "none requested (evaluate.slices)")


def table_section(heading: str, file: Path, empty: str = "") -> PageSection:
    """Returns a page section with a CSV file as a table; the text is `empty` if the table has no rows."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    text = "" if len(table) else empty
    return PageSection(heading, text, columns=list(table.columns), rows=table.to_numpy().tolist())


def classes_section(heading: str, file: Path) -> PageSection:
    """Returns the page section with the table of classes or labels; of many, those with the lowest F1 in the test."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if len(table) <= MAX_CLASSES_SHOWN:
        return table_section(heading, file)
    f1 = table["f1"].astype(float).where(table["support"] != "0", np.inf)
    worst = table.loc[f1.sort_values(kind="stable").index[:MAX_WORST_SHOWN]]
    text = f"The {len(worst)} with the lowest F1. {len(table) - len(worst)} more are in {file.name}."
    return PageSection(heading, text, columns=list(table.columns), rows=worst.to_numpy().tolist())


def interval_text(score: Mapping[str, float], number_format: str) -> str:
    """Formats a value with its interval, if it has one."""
    bounds = [f"{score[name]:{number_format}}" for name in (LOW, HIGH) if name in score]
    return f"{score[VALUE]:{number_format}}" + (f" [{', '.join(bounds)}]" if bounds else "")
