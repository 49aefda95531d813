"""The stages: plain functions from files to files, one a module, in the order of the flow."""

from __future__ import annotations

STAGES = ("ingest", "validate", "augment", "features", "head", "finetune", "evaluate")
