"""Choosing a model for a domain that has no labels. Shapes: U target images, C classes."""

from __future__ import annotations

import torch
from torch import Tensor

SHARP = 0.05  # temperature of the neighbourhoods, the paper's
MOST = 2000  # target images that are compared with one another


def information(logits_UC: Tensor) -> float:
    """Information maximisation: sure of each answer, and all classes in use; higher is better.

    The entropy of the mean answer minus the mean entropy (Shi and Sha, 2012; as a validator, Musgrave et al., 2022).
    """
    p_UC = logits_UC.cpu().double().softmax(1)
    return (entropy(p_UC.mean(0)) - entropy(p_UC).mean()).item()


def neighbourhood(logits_UC: Tensor) -> float:
    """Soft neighbourhood density (Saito et al., 2021): how many near neighbours answers have; higher is better."""
    if len(logits_UC) < 2:
        return 0.0  # nobody's neighbour
    some_UC = logits_UC[:: -(-len(logits_UC) // MOST)].cpu().double()
    p_UC = torch.nn.functional.normalize(some_UC.softmax(1), dim=1)
    similar_UU = p_UC @ p_UC.T
    similar_UU.fill_diagonal_(-torch.inf)
    return entropy((similar_UU / SHARP).softmax(1)).mean().item()


def entropy(p: Tensor) -> Tensor:
    """Over the last dimension, in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


VALIDATORS = {"information": information, "neighbourhood": neighbourhood}
