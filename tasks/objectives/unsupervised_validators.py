"""Scores models on an unlabeled domain. Shapes: U images of the target domain, C classes."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.05  # of the similarities, from the paper
MAX_IMAGES = 2000  # limit on the images compared with one another


def information(logits_UC: Tensor) -> float:
    """Returns the information maximization score of logits (U, C), which rewards confident and diverse predictions.

    The entropy of the mean prediction minus the mean entropy (Shi and Sha, 2012; as a validator, Musgrave et al.,
    2022); higher is better.
    """
    p_UC = logits_UC.cpu().double().softmax(1)
    return (entropy(p_UC.mean(0)) - entropy(p_UC).mean()).item()


def neighborhood(logits_UC: Tensor) -> float:
    """Returns the soft neighborhood density of logits (U, C) (Saito et al., 2021); higher is better."""
    if len(logits_UC) < 2:
        return 0.0  # there are no neighbors
    sample_UC = logits_UC[:: -(-len(logits_UC) // MAX_IMAGES)].cpu().double()
    p_UC = torch.nn.functional.normalize(sample_UC.softmax(1), dim=1)
    similar_UU = p_UC @ p_UC.T
    similar_UU.fill_diagonal_(-torch.inf)
    return entropy((similar_UU / TEMPERATURE).softmax(1)).mean().item()


def entropy(p: Tensor) -> Tensor:
    """Returns the entropy over the last dimension of probabilities (..., C), in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


VALIDATORS = {"information": information, "neighbourhood": neighborhood}
