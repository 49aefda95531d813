"""Augment: the policy, resolved and checked, and the seeded plan of views that features and fine-tuning share."""

from __future__ import annotations

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, AugmentSection, BackboneParams


class AugmentParams(StageParams):
    """What augment reads of params.yaml."""

    seed: int
    backbone: BackboneParams
    augment: AugmentSection


class AugmentReport(Section):
    """How many views were planned."""

    views: int


def augment(paths: Paths, params: AugmentParams) -> AugmentReport:
    """Writes policy, plan and preview. Raises DataRefusedError for a flip that turns classes into one another."""
    import pandas as pd

    from tasks.core.errors import ParamsError
    from tasks.core.files import replacing
    from tasks.core.progress import say
    from tasks.core.schema import Column, Split
    from tasks.data.manifest import label_names, of_split, target_names
    from tasks.images.flip_check import check_flip_keeps_labels
    from tasks.images.transforms import RenderStyle
    from tasks.images.view_plan import plan_views
    from tasks.models.backbone import preprocessing_of
    from tasks.models.weights_file import read
    from tasks.reports.preview import preview

    policy, backbone = params.augment, params.backbone
    train = of_split(pd.read_parquet(paths.manifest), Split.TRAIN)
    turned = [name for name, much in (("flip", policy.flip), ("rotation", policy.rotation)) if much]
    turned += ["automatic"] if policy.automatic != "none" else []
    if turned and policy.check and target_names(train):
        raise ParamsError(
            f"augment.{turned[0]}: a view that is turned or mirrored may have another target; if it has not, set "
            "augment.check to false"
        )
    if policy.flip and policy.check and not label_names(train):
        check_flip_keeps_labels(paths.raw, train)
    pictures = zip(train[Column.PATH], train[Column.PIXEL_HASH], strict=True)
    resolved = AugmentPolicy.of(policy, params.seed)
    planned = plan_views(pictures, resolved)
    resolved.write(paths.policy)
    with replacing(paths.plan) as beside:
        planned.to_parquet(beside, index=False)
    _, description = read(paths.pretrained)
    sizes = (backbone.resize, backbone.crop)
    preprocessing = preprocessing_of(backbone.architecture, description, *sizes, backbone.letterbox)
    preview(paths.preview, paths.raw, planned, preprocessing, RenderStyle.of(policy))
    say(f"{len(planned)} views of {len(train)} training images planned")
    return AugmentReport(views=len(planned))
