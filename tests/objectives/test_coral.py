from __future__ import annotations

import torch
import torch.nn.functional as F

from tasks.objectives.losses.coral import coral, covariance
from tasks.training.losses.cross_entropy import cross_entropy
from tests.objectives.examples import half_labeled, small


def test_coral_is_the_distance_of_the_domains_covariances():
    batch, network = half_labeled(), small()
    feature = network.backbone(batch.inputs)
    torch.testing.assert_close(covariance(feature[:4]), torch.cov(feature[:4].T))
    loss = coral(cross_entropy(), 2.0)(network, batch).mean()
    distance = (torch.cov(feature[:4].T) - torch.cov(feature[4:].T)).square().sum() / (4 * 16)
    supervised = F.cross_entropy(network(batch.inputs)[:4], batch.target[:4])
    torch.testing.assert_close(loss, supervised + 2 * distance)
