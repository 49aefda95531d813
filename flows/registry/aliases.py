"""Aliases of a registered model's versions, and the registered model that receives promoted copies."""

from __future__ import annotations

CHALLENGER = "challenger"  # set by retrain: the version with the newest results
CHAMPION = "champion"  # set by a person: a request to make the version live
LIVE = "live"  # set only by release: the version that predict uses
PRODUCTION = "-production"  # suffix of the registered model that receives copies made with the Promote model button
