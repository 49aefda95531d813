"""What the keeper passes to its processes, in variables of their environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tasks.serving.limits import Limits

TOKEN = "ROOTSTOCK_SERVE_TOKEN"  # noqa: S105 - the name of the variable with the bearer token
SETTINGS = "ROOTSTOCK_SERVE_SETTINGS"
REGISTRY_SECRETS = (  # beginnings of variables that only the fetcher gets: the front and workers meet strangers' bytes
    *("MLFLOW_", "PREFECT_", "AWS_", "AZURE_", "GOOGLE_", "DVC_", "GIT"),
    "ROOTSTOCK_SIGNING_KEY",
)


@dataclass(frozen=True)
class _Settings:
    limits: Limits

    def variables(self) -> Mapping[str, str]:
        """Returns the settings as variables."""
        return {SETTINGS: json.dumps({**asdict(self), "limits": self.limits._asdict()})}

    @classmethod
    def load(cls) -> Self:
        """Reads the settings from the environment."""
        fields: dict[str, Any] = json.loads(os.environ[SETTINGS])
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


@dataclass(frozen=True)
class WorkerSettings(_Settings):
    """How a worker answers; `quarantine` is a folder."""

    threads: int
    quarantine: str


@dataclass(frozen=True)
class FrontSettings(_Settings):
    """What the front allows: requests at a worker at once, requests in line, names of this machine."""

    seats: int
    queue: int
    hosts: tuple[str, ...]
