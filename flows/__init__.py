"""Prefect flows, one per file. Importing this package points every tool at this repository's folders."""

from __future__ import annotations

from flows.local.environment import set_defaults

set_defaults()
