"""Plans and schedules of a fit on labeled images, from the section `finetune`."""

from __future__ import annotations

from tasks.core.sections import FinetuneSection
from tasks.models.freezing import freeze_all_but_last, parameter_groups, set_dropout
from tasks.models.networks import probe_network
from tasks.objectives.context import TrainingContext
from tasks.objectives.data import TrainingData
from tasks.scorer.network import Network
from tasks.training.kinds import loss_for
from tasks.training.loop import Schedule
from tasks.training.losses.mixing import mixing
from tasks.training.plan import TrainingPlan
from tasks.training.types import Loss


def last_of(section: FinetuneSection) -> tuple[int, str]:
    """Returns the number of trained blocks or layers, counted from the last, and which of the two is counted."""
    return (section.blocks, "blocks") if section.layers is None else (section.layers, "layers")


def plan_on_labels(context: TrainingContext, section: FinetuneSection) -> tuple[Network, TrainingPlan]:
    """Returns the probe's network, and the plan to fine-tune it on labeled images alone."""
    network = probe_network(context.fresh_backbone(), context.files.head_weights, context.data.target.num_outputs)
    learning = freeze_all_but_last(network.backbone, *last_of(section))
    set_dropout(network.backbone, section.dropout, section.stochastic_depth)
    return network, TrainingPlan(
        learning=learning,
        groups=parameter_groups(network, learning, section.head_rate, section.rate, section.decay),
        loss=loss_on_labels(context.data, section),
        smoothing=section.smoothing,
        batch_statistics=section.batchnorm == "training",
        unfreeze_every=section.unfreeze,
        dropout=bool(section.dropout),
        cache_gib=0.0 if section.mixup or section.cutmix else section.cache,  # mixed images differ every time
        compile=section.compile,
        alphas=section.interpolation,
    )


def loss_on_labels(data: TrainingData, section: FinetuneSection) -> Loss:
    """Returns the supervised loss that fine-tuning and the baseline from scratch share."""
    return mixing(loss_for(data.target, section.smoothing, data.log_prior_C), section.mixup, section.cutmix)


def schedule_of(section: FinetuneSection, steps_per_epoch: int, seed: int) -> Schedule:
    """Returns the schedule configured by the section `finetune`."""
    return Schedule(
        epochs=section.epochs,
        steps_per_epoch=steps_per_epoch,
        warmup=section.warmup,
        weight_decay=section.weight_decay,
        patience=section.patience,
        seed=seed,
        max_grad_norm=section.clip,
        accumulation_steps=section.parts,
        ema_decay=section.average,
    )
