from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.files import read_json
from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tests.drawn import write_arrows
from tests.stages.contract import AUGMENT, augmented, embedded, headed, ingested, tuned


def test_augment_writes_the_policy_and_draws_a_preview(paths):
    ingested(paths)
    assert augmented(paths).views == 54
    plan = pd.read_parquet(paths.plan)
    assert plan[Column.PATH].str.startswith("train/").all()
    assert len(plan) == 8 * 3  # of the images in the preview
    assert read_json(paths.policy)["fill"] == "edge"
    assert paths.preview.read_bytes().startswith(b"\x89PNG")
    augmented(paths, seed=1)
    assert not plan.equals(pd.read_parquet(paths.plan))


def test_any_policy_of_augmentation_goes_through(paths):
    """Views that are rotated, erased and changed by a policy become features like others."""
    ingested(paths)
    for automatic in ("rand", "trivial", "augmix"):
        augmented(paths, automatic=automatic, rotation=20.0, erase=0.5)
        assert embedded(paths).embedded in {36, 75}  # views; the clean images were stored already
    plan = pd.read_parquet(paths.plan)
    assert plan["rotation"].abs().max() > 5
    assert 0 < plan["erase_side"].astype(bool).mean() < 1
    headed(paths), tuned(paths, scratch=False)


@pytest.fixture
def arrows(paths, tmp_path):
    """Returns paths with arrows that point left or right."""
    return paths.model_copy(update={"raw": write_arrows(tmp_path / "arrows")})


def test_flips_that_change_labels_are_turned_off_and_the_run_goes_on(arrows, capsys):
    ingested(arrows)
    report = augmented(arrows, flip=True)
    policy = read_json(arrows.policy)
    assert (report.flip, policy["flip"], policy["flip_check"]["outcome"]) == (False, False, "off")
    assert policy["flip_check"]["original"] - policy["flip_check"]["mirrored"] > 0.5
    assert not pd.read_parquet(arrows.plan)["flip"].any()
    assert capsys.readouterr().out.count("augment.flip is turned off") == 1
    assert AugmentPolicy.read(arrows.policy).flip_check.classes == ("left", "right")
    before = arrows.policy.read_bytes()
    augmented(arrows, flip=True)
    assert arrows.policy.read_bytes() == before
    embedded(arrows), headed(arrows), tuned(arrows, scratch=False)


def test_the_check_can_be_skipped(arrows, capsys):
    ingested(arrows)
    assert augmented(arrows, flip=True, check=False).flip
    assert "flip_check" not in read_json(arrows.policy)
    assert pd.read_parquet(arrows.plan)["flip"].any()
    assert "augment.flip" not in capsys.readouterr().out


def test_flips_that_keep_labels_stay(paths, capsys):
    """18 images of bars, discs and rings, each in its color."""
    ingested(paths)
    assert augmented(paths, flip=True).flip
    check = read_json(paths.policy)["flip_check"]
    assert (check["outcome"], check["images"], check["classes"]) == ("kept", 18, [])
    assert pd.read_parquet(paths.plan)["flip"].any()
    assert "augment.flip stays on" in capsys.readouterr().out


def test_labels_are_checked_too(scenes):
    ingested(scenes)
    assert augmented(scenes, flip=True).flip
    assert read_json(scenes.policy)["flip_check"]["outcome"] != "off"


def test_a_policy_without_flips_is_written_as_ever(paths):
    ingested(paths), augmented(paths)
    assert read_json(paths.policy) == {"seed": 0, **AUGMENT}
