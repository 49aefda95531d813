"""A quick probe for cross-validation: kernel ridge regression of labels on frozen features, in folds by group.

Its kernel is computed once for all folds, so that a fit takes milliseconds. Shapes: N rows, T rows of training, H held
out, D features, C classes or labels.
"""

from __future__ import annotations

import numpy as np

PENALTY = 0.1  # L2, with a mean squared norm of the features of 1
FLOOR = 1e-6  # lower bound of a feature's standard deviation


def kernel_of(x_ND: np.ndarray) -> np.ndarray:
    """Returns the products of standardized features per feature, (N, N)."""
    x_ND = x_ND.astype(np.float64)
    z_ND = (x_ND - x_ND.mean(0)) / x_ND.std(0).clip(FLOOR)
    return np.asarray(z_ND @ z_ND.T / z_ND.shape[1])


def scores_of(kernel_NN: np.ndarray, has_NC: np.ndarray, train_T: np.ndarray, held_H: np.ndarray) -> np.ndarray:
    """Returns the scores of the rows `held_H`, (H, C), above 0.5 for what is likely, by a probe trained on `train_T`.

    `has_NC` is 1 for the classes or labels of a row, and 0 elsewhere. Source: Saunders et al., "Ridge Regression
    Learning Algorithm in Dual Variables", 1998.
    """
    mean_C = has_NC[train_T].mean(0)
    penalized_TT = kernel_NN[np.ix_(train_T, train_T)] + PENALTY * np.eye(len(train_T))
    dual_TC = np.linalg.solve(penalized_TT, has_NC[train_T] - mean_C)
    return np.asarray(kernel_NN[np.ix_(held_H, train_T)] @ dual_TC + mean_C)
