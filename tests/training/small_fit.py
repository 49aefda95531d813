"""A fit of a small network with dropout that takes seconds, for tests of the training loop and its surroundings."""

from __future__ import annotations

import torch

from tasks.hardware.device import choose
from tasks.models.freezing import freeze_all_but_last, learn_mode, parameter_groups, thaw, unfrozen
from tasks.scorer.network import build_network
from tasks.training.checkpoint import FileCheckpoint
from tasks.training.loop import Schedule, fit, score
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch

CPU = choose("cpu", "float32")
SCHEDULE = Schedule(epochs=4, steps_per_epoch=3, warmup=0.2, weight_decay=0.01, patience=9, seed=5)


class Killed(Exception):  # noqa: N818
    pass


def batches(epoch, count=3):
    random = torch.Generator().manual_seed(epoch)
    for _ in range(count):
        y = torch.randint(0, 3, (8,), generator=random)
        yield Batch(torch.randn(8, 3, 32, 32, generator=random) + y.view(-1, 1, 1, 1), y)


def trained(
    path,
    schedule=SCHEDULE,
    on_row=lambda _row: None,
    train=batches,
    blocks=2,
    rate=1e-3,
    every=0,
    device=CPU,
    loss=cross_entropy(),  # noqa: B008
    callbacks=(),
):
    """Returns a fitted network with dropout, and its progress."""
    torch.manual_seed(0)
    network = build_network("resnet10", 3)
    network.head = torch.nn.Sequential(torch.nn.Dropout(0.3), network.head)
    learning = freeze_all_but_last(network.backbone, blocks)
    device.place(network)

    def placed(batches):
        return (Batch(device.place(batch.inputs), batch.target.to(device.device)) for batch in batches)

    def prepare_epoch(epoch):
        now = unfrozen(learning, epoch, every)
        thaw(network.backbone, now)
        learn_mode(network, now, batch_statistics=True)

    progress = fit(
        network,
        lambda epoch: placed(train(epoch)),
        lambda: score(network, placed(batches(99)), device),
        loss,
        schedule,
        groups=parameter_groups(network, learning, rate, rate, 0.5),
        prepare_epoch=prepare_epoch,
        device=device,
        checkpoint=FileCheckpoint(path),
        on_row=on_row,
        callbacks=callbacks,
    )
    return network, progress
