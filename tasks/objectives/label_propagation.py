"""Propagates labels to unlabeled images over a nearest-neighbor graph in feature space.

Zhou et al., "Learning with Local and Global Consistency" (2004), on the graph of Iscen et al., "Label Propagation for
Deep Semi-supervised Learning" (2019). Unlabeled and labeled images are assumed to have the same class frequencies:
class mass normalization, Zhu et al., "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions" (2003).
Shapes: N images, D features, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import cg

from tasks.core.errors import RootstockError
from tasks.core.objective_sections import NeighborSearch
from tasks.objectives.nearest import SEARCHES

ALPHA = 0.99  # weight of an image's neighbors relative to that of its own label
GAMMA = 3  # exponent of the cosine similarity in an edge's weight
UNREACHED = 1e-9  # score of each class for an image that no label reaches


def graph(x_ND: np.ndarray, neighbors: int, search: NeighborSearch = "exact") -> sparse.csr_matrix:
    """Returns the symmetric, normalized weights, (N, N), of edges to the nearest features (N, D) by cosine similarity.

    No image is a neighbor of itself. Raises RootstockError if features are not finite, or if an index does not lead to
    enough neighbors.
    """
    if not np.isfinite(x_ND.sum(1)).all():
        message = "the features of some images are no finite numbers; set compute.precision to float32"
        raise RootstockError(message, key="features-not-finite")
    count = min(neighbors, len(x_ND) - 1)
    nearest = SEARCHES[search](torch.as_tensor(x_ND, dtype=torch.float32), count)
    weight_NK, start_N = nearest.cosine_NK.clamp_min(0) ** GAMMA, np.arange(len(x_ND) + 1) * count
    parts = (weight_NK.flatten().numpy(), nearest.row_NK.flatten().numpy(), start_N)
    weight_NN = sparse.csr_matrix(parts, shape=(len(x_ND), len(x_ND)))
    weight_NN = weight_NN + weight_NN.T
    scale = sparse.diags(1 / np.sqrt(np.asarray(weight_NN.sum(1)).ravel() + UNREACHED))
    return sparse.csr_matrix(scale @ weight_NN @ scale)


def propagate(
    x_ND: np.ndarray, label_N: np.ndarray, classes: int, neighbors: int, search: NeighborSearch = "exact"
) -> np.ndarray:
    """Returns class probabilities, (N, C), from features (N, D) and labels (N,), where -1 means unlabeled.

    Raises RootstockError if the linear system is not solved; see also `graph`.
    """
    system = sparse.identity(len(x_ND)) - ALPHA * graph(x_ND, neighbors, search)
    score_NC = np.empty((len(x_ND), classes))
    for number in range(classes):
        is_class_N = label_N == number
        score_N = _solve(system, is_class_N.astype(float)).clip(0)
        score_NC[:, number] = score_N * (is_class_N.mean() / max(score_N.sum(), UNREACHED))
    score_NC += UNREACHED * score_NC.max()
    score_NC /= score_NC.sum(1, keepdims=True)
    return score_NC


def _solve(system: sparse.spmatrix, right_side_N: np.ndarray) -> np.ndarray:
    """Solves the linear system by conjugate gradients, as in the paper."""
    score_N, info = cg(system, right_side_N, rtol=1e-6)
    if info:
        raise RootstockError(
            f"unlabelled.neighbours: label propagation did not converge in {info} steps; raise it",
            key="unlabelled.neighbours",
        )
    return np.asarray(score_N)
