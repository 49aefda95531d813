from __future__ import annotations

import pandas as pd

from tasks.core.files import read_json
from tasks.core.schema import Column
from tests.stages.contract import augmented, embedded, headed, ingested, tuned


def test_augment_plans_views_and_draws_a_preview(paths):
    ingested(paths)
    assert augmented(paths).views == 54
    plan = pd.read_parquet(paths.plan)
    assert plan[Column.PATH].str.startswith("train/").all()
    assert read_json(paths.policy)["fill"] == "edge"
    assert paths.preview.read_bytes().startswith(b"\x89PNG")
    augmented(paths, seed=1)
    assert not plan.equals(pd.read_parquet(paths.plan))


def test_any_policy_of_augmentation_goes_through(paths):
    """Views that are rotated, erased and changed by a policy become features like others, and record their plan."""
    ingested(paths)
    for automatic in ("rand", "trivial", "augmix"):
        augmented(paths, automatic=automatic, rotation=20.0, erase=0.5)
        assert embedded(paths).embedded in {36, 75}  # views; the clean images were stored already
    plan = pd.read_parquet(paths.plan)
    assert plan["rotation"].abs().max() > 5
    assert 0 < plan["erase_side"].astype(bool).mean() < 1
    headed(paths), tuned(paths, scratch=False)
