"""Augment: resolves and checks the policy, and plans the seeded views that features and fine-tuning share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, AugmentSection, BackboneParams

if TYPE_CHECKING:
    import pandas as pd


class AugmentParams(StageParams):
    """The parameters that augment reads."""

    seed: int
    backbone: BackboneParams
    augment: AugmentSection


class AugmentReport(Section):
    """The number of planned views."""

    views: int


def augment(paths: Paths, params: AugmentParams) -> AugmentReport:
    """Writes the policy, the plan and the preview.

    Raises DataRefusedError if flipped images of one class look like another class, and ParamsError if the policy may
    flip or rotate regression images.
    """
    import pandas as pd

    from tasks.core.files import replacing
    from tasks.core.progress import say
    from tasks.core.schema import Column, Split
    from tasks.data.manifest import of_split
    from tasks.images.transforms import RenderStyle
    from tasks.images.view_plan import plan_views
    from tasks.models.backbone import preprocessing_of
    from tasks.models.weights_file import read
    from tasks.reports.preview import preview

    policy, backbone = params.augment, params.backbone
    train = of_split(pd.read_parquet(paths.manifest), Split.TRAIN)
    if policy.check:
        check_geometry(paths, policy, train)
    images = zip(train[Column.PATH], train[Column.PIXEL_HASH], strict=True)
    resolved = AugmentPolicy.of(policy, params.seed)
    planned = plan_views(images, resolved)
    resolved.write(paths.policy)
    with replacing(paths.plan) as beside:
        planned.to_parquet(beside, index=False)
    _, description = read(paths.pretrained)
    sizes = (backbone.resize, backbone.crop)
    preprocessing = preprocessing_of(backbone.architecture, description, *sizes, backbone.letterbox)
    preview(paths.preview, paths.raw, planned, preprocessing, RenderStyle.of(policy))
    say(f"{len(planned)} views of {len(train)} training images planned")
    return AugmentReport(views=len(planned))


def check_geometry(paths: Paths, policy: AugmentSection, train: pd.DataFrame) -> None:
    """Raises ParamsError or DataRefusedError if flipping or rotating an image could change its target or label."""
    from tasks.core.errors import ParamsError
    from tasks.data.manifest import label_names, target_names
    from tasks.images.flip_check import check_flip_keeps_labels

    changes = {"flip": policy.flip, "rotation": policy.rotation, "automatic": policy.automatic != "none"}
    used = [name for name, is_used in changes.items() if is_used]
    if used and target_names(train):
        raise ParamsError(
            f"augment.{used[0]}: a rotated or flipped view may have another target; if not, set augment.check to false",
            key=f"augment.{used[0]}",
        )
    if policy.flip and not label_names(train):
        check_flip_keeps_labels(paths.raw, train)
