"""Predict: applies a registered model to an image, a folder or a table, as a deployment; make predict needs no flow."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.local.logs import plain_errors
from flows.registry.predictions import answer


@flow(name="predict")
def predict(source: str, model: str | None = None, out: str | None = None) -> str:
    """Predicts for all images of `source`; `model` is an alias or a version number. Returns a summary."""
    plain_errors()
    text = answer(source, model, out, get_run_logger().info)
    create_markdown_artifact(f"```\n{text}\n```", key="predict-result", description="Result of a prediction")
    return text
