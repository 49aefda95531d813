"""Macro F1 as a value per image, so that intervals and tests of means apply to it.

Memberships are sparse matrices, (N, C), of 0 and 1: with one class per image, their size is that of N numbers. Shapes:
N images, C classes or labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def memberships(class_N: np.ndarray, classes: int) -> csr_array:
    """Returns the memberships of images with one class each, from class numbers (N,)."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(class_N)), (np.arange(len(class_N)), class_N)), shape=(len(class_N), classes))


def label_memberships(label_NC: np.ndarray) -> csr_array:
    """Returns the memberships of images with any number of labels, from (N, C) bool."""
    from scipy.sparse import csr_array

    return csr_array(label_NC.astype(float))


def f1_shares(predicted_NC: csr_array, true_NC: csr_array) -> np.ndarray:
    """Returns values per image, (N,): their mean is macro F1, and their variance N times its variance (delta method).

    Macro F1 is the mean over the classes that occur in the predictions or the truth.
    """
    size_C = predicted_NC.sum(0) + true_NC.sum(0)
    inverse_C = np.divide(1.0, size_C, out=np.zeros(len(size_C)), where=size_C > 0)
    hits_NC = predicted_NC.multiply(true_NC).tocsr()
    f1_C = 2 * hits_NC.sum(0) * inverse_C
    change_N = hits_NC @ (2 * inverse_C) - (predicted_NC + true_NC) @ (f1_C * inverse_C)  # of F1, by an image's weight
    classes = max(np.count_nonzero(size_C), 1)
    return np.asarray((f1_C.sum() + true_NC.shape[0] * change_N) / classes)


def rarest_and_mistaken(true_NC: csr_array, *, exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image of the rarest class that occurs, where an error costs most, and a wrong prediction for it: (C,).

    The wrong prediction is no class, or with `exclusive` classes any other that occurs, each with equal weight.
    """
    count_C = np.asarray(true_NC.sum(0), float)
    right_C = np.eye(len(count_C))[np.where(count_C > 0, count_C, np.inf).argmin()]
    others_C = (count_C > 0) & (right_C == 0) & exclusive
    return right_C, others_C / max(others_C.sum(), 1)


def with_row(matrix_NC: csr_array, row_C: np.ndarray) -> csr_array:
    """Adds an image."""
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack([matrix_NC, csr_array(row_C[None])]))
