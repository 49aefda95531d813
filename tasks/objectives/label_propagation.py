"""Labels that spread over a graph of nearest neighbours in feature space, to images that have none.

Zhou et al., "Learning with Local and Global Consistency" (2004); the graph is that of Iscen et al., "Label Propagation
for Deep Semi-supervised Learning" (2019). The unlabelled images are taken to be of the classes as often as the labelled
ones are: Zhu et al., "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions" (2003), class mass
normalisation. Shapes: N images, D numbers a feature, C classes.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg
from sklearn.neighbors import NearestNeighbors

from tasks.core.errors import RootstockError

ALPHA = 0.99  # of what an image is told by its neighbours; the rest is its own label
GAMMA = 3  # power of the cosine that weighs an edge
UNREACHED = 1e-9  # share of each class in an image that no label reaches


def graph(x_ND: np.ndarray, neighbours: int) -> sparse.csr_matrix:
    """Symmetric, normalised weights of the edges from each image to its nearest ones by cosine, (N, N).

    All are compared with all: the seconds grow with the square of N.
    """
    near = NearestNeighbors(n_neighbors=min(neighbours, len(x_ND) - 1), metric="cosine").fit(x_ND)
    weight_NN = near.kneighbors_graph(mode="distance")  # of others: no image is its own neighbour
    weight_NN.data = (1 - weight_NN.data).clip(0) ** GAMMA
    weight_NN = weight_NN + weight_NN.T
    scale = sparse.diags(1 / np.sqrt(np.asarray(weight_NN.sum(1)).ravel() + UNREACHED))
    return sparse.csr_matrix(scale @ weight_NN @ scale)


def propagate(x_ND: np.ndarray, label_N: np.ndarray, classes: int, neighbours: int) -> np.ndarray:
    """How likely each image is of each class, (N, C), where some have a label and -1 stands for none.

    Raises RootstockError if the equations are not solved.
    """
    own_NC = (label_N[:, None] == np.arange(classes)).astype(float)
    system = sparse.identity(len(x_ND)) - ALPHA * graph(x_ND, neighbours)
    found_NC = np.stack([_solved(system, own_N) for own_N in own_NC.T], 1).clip(0)
    found_NC *= own_NC.mean(0) / found_NC.sum(0).clip(UNREACHED)
    found_NC += UNREACHED * found_NC.max()
    return np.asarray(found_NC / found_NC.sum(1, keepdims=True))


def _solved(system: sparse.spmatrix, own_N: np.ndarray) -> np.ndarray:
    """By conjugate gradients, as the paper does."""
    found_N, info = cg(system, own_N, rtol=1e-6)
    if info:
        raise RootstockError(f"unlabelled.neighbours: labels did not spread in {info} steps; take more neighbours")
    return np.asarray(found_N)
