from __future__ import annotations

import torch
import torch.nn.functional as F

from tasks.objectives.losses.coral import coral, covariance
from tasks.training.losses.cross_entropy import cross_entropy
from tests.objectives.examples import half_known, small


def test_coral_is_the_distance_of_the_domains_covariances():
    (x, y), network = half_known(), small()
    feature = network.backbone(x)
    torch.testing.assert_close(covariance(feature[:4]), torch.cov(feature[:4].T))
    loss = coral(cross_entropy(), 2.0)(network, x, y).mean()
    distance = (torch.cov(feature[:4].T) - torch.cov(feature[4:].T)).square().sum() / (4 * 16)
    torch.testing.assert_close(loss, F.cross_entropy(network(x)[:4], y[:4]) + 2 * distance)
