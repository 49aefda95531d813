"""What the gate compares of a classifier: the class of each image, and the probability of its label.

Shapes: N images, C classes of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.core.schema import LABEL_PROBABILITY, Column


def class_answers(probability_NC: np.ndarray, label_N: pd.Series, classes: Sequence[str]) -> pd.DataFrame:
    """Returns the answers of a model with probabilities (N, C) for images with labels (N,).

    Labels may be of other models: their probability is 0.
    """
    number_N = pd.Index(classes).get_indexer(pd.Index(label_N))
    likelihood_N = np.where(number_N >= 0, probability_NC[np.arange(len(number_N)), number_N], 0.0)
    return answer_table(pd.Categorical.from_codes(probability_NC.argmax(1), pd.Index(classes)), likelihood_N)


def answer_table(predicted: pd.Categorical[str], likelihood_N: np.ndarray) -> pd.DataFrame:
    """Returns a row per image: the class, with all classes of the model as categories, and the label's probability."""
    return pd.DataFrame({Column.PREDICTED.value: predicted, LABEL_PROBABILITY: likelihood_N})
