from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.objective_sections import Objective
from tasks.core.schema import EMBEDDED_ARCHITECTURE
from tasks.core.sections import FinetuneSection
from tasks.models.networks import shrink_head
from tasks.objectives.recipes import is_searched, passes, rungs_of
from tasks.scorer.heads import build_head
from tests.stages.contract import FINETUNE


@given(recipes=st.integers(1, 3), budget=st.integers(6, 500), halving=st.booleans())
def test_rungs_stay_within_the_budget_and_every_fit_has_an_epoch(recipes, budget, halving):
    rungs = rungs_of(recipes, budget, halving=halving)
    assert passes(rungs, 7) <= 7 * budget
    assert all(rung.epochs for rung in rungs)
    assert rungs[0].recipes == recipes
    if halving:
        assert rungs[-1].recipes == 1
        assert [rung.epochs for rung in rungs] == sorted(rung.epochs for rung in rungs)
    else:
        assert len(rungs) == 1


@pytest.mark.parametrize(
    ("recipe", "objective", "architecture", "searched"),
    [
        ("auto", "labels", "mobilenet_v2", True),
        ("auto", "labels", EMBEDDED_ARCHITECTURE, False),
        ("search", "labels", EMBEDDED_ARCHITECTURE, True),
        ("fixed", "labels", "mobilenet_v2", False),
        ("auto", "distillation", "mobilenet_v2", False),
    ],
)
def test_auto_searches_for_own_images_and_the_objective_labels(recipe, objective, architecture, searched):
    section = FinetuneSection(**{**FINETUNE, "recipe": recipe})
    assert is_searched(section, Objective(objective), architecture) == searched
    assert not is_searched(section.model_copy(update={"epochs": 0}), Objective(objective), architecture)


@pytest.mark.parametrize("kind", [{"kind": "linear"}, {"kind": "dense", "hidden": 5}, {"kind": "prototype"}])
def test_a_small_head_has_a_fraction_of_the_logits(kind):
    head, x_ND = build_head(4, 3, **kind), torch.randn(6, 4)
    torch.nn.init.normal_(next(head.parameters()))
    before = head(x_ND)
    shrink_head(head, 0.1)
    torch.testing.assert_close(head(x_ND), before * 0.1)
