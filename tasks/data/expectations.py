"""Checks the manifest against the suite; the only module that runs Great Expectations.

Image files are profiled into the manifest first, and conditions across rows (an image in two splits, a class without
test images) become table columns, so that every rule is a built-in expectation. Great Expectations works with a Python
object for each cell, so that it only sees the column of one rule at a time.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.data.checked_tables import NOTE, class_table, image_table
from tasks.data.findings import Finding
from tasks.data.suite import CLASSES, IMAGES, Rule

if TYPE_CHECKING:
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.datasource.fluent.interfaces import Batch

MAX_EXAMPLES = 20  # failed rows named in a finding


def check(manifest: pd.DataFrame, suite: list[Rule], pairs: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """Checks each rule on the manifest. `pairs` are the files of near-duplicates in two splits.

    Raises RuntimeError if a rule could not be evaluated.
    """
    tables = {IMAGES: image_table(manifest, pairs), CLASSES: class_table(manifest)}
    batches = _batches()
    return [_checked(batches, rule, tables[rule.table]) for rule in suite]


def _batches() -> BatchDefinition[Any]:
    """Returns what makes a batch of a table, of which only the last one is kept."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("manifest").add_dataframe_asset("column")
    return asset.add_batch_definition_whole_dataframe("column")


def _checked(batches: BatchDefinition[Any], rule: Rule, table: pd.DataFrame) -> Finding:
    """Checks the rule on its column."""
    batch = batches.get_batch({"dataframe": table[[rule.arguments["column"]]].astype(object)})
    result = _result(rule, batch)
    rows, missing = (result.get(name) or [] for name in ("unexpected_index_list", "partial_missing_list"))
    examples = [_name(table.loc[row], rule.table) for row in rows[:MAX_EXAMPLES]]
    examples += [f"none is {value}" for value in missing[:MAX_EXAMPLES]]
    return Finding(rule.title, rule.severity, result["success"], len(rows) + len(missing), tuple(examples), rule.remedy)


def _result(rule: Rule, batch: Batch) -> dict[str, Any]:
    """Returns the expectation's result, with its success."""
    import great_expectations.expectations as gxe

    expectation = getattr(gxe, rule.expectation)(**rule.arguments, severity=rule.severity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = batch.validate(expectation, result_format="COMPLETE").to_json_dict()
    if outcome["exception_info"].get("raised_exception"):
        raise RuntimeError(f"the rule '{rule.title}' could not be evaluated: {outcome['exception_info']}")
    return {**outcome["result"], "success": bool(outcome["success"])}


def _name(row: pd.Series, table: str) -> str:
    return str(row[table]) if pd.isna(row[NOTE]) else f"{row[table]}: {row[NOTE]}"
