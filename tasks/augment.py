"""Augment: resolves and checks the policy of the seeded views that features and fine-tuning share, and shows some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, AugmentSection, BackboneParams, ComputeParams, FlipCheck

if TYPE_CHECKING:
    import pandas as pd


class AugmentParams(StageParams):
    """The parameters that augment reads."""

    seed: int
    backbone: BackboneParams
    compute: ComputeParams
    augment: AugmentSection


class AugmentReport(Section):
    """The number of views of the training images, and whether some of them are flipped."""

    views: int
    flip: bool


def augment(paths: Paths, params: AugmentParams) -> AugmentReport:
    """Writes the policy and the preview; flips are turned off where mirror images are recognized less well.

    Raises ParamsError if the policy may flip or rotate regression images.
    """
    from tasks.core.progress import say
    from tasks.core.schema import Split
    from tasks.data.decoding import load
    from tasks.data.manifest import of_split, read_manifest
    from tasks.models.backbone import preprocessing_of
    from tasks.models.weights_file import read_description
    from tasks.reports.preview import preview

    backbone = params.backbone
    train = of_split(read_manifest(paths.manifest), Split.TRAIN)
    flip_check = check_geometry(paths, params, train) if params.augment.check else None
    policy = AugmentPolicy.of(params.augment, params.seed, flip_check)
    policy.write(paths.policy)
    sizes, decoding = (backbone.resize, backbone.crop), load(paths.decoding)
    description = read_description(paths.pretrained)
    preprocessing = preprocessing_of(backbone.architecture, description, *sizes, backbone.letterbox, decoding)
    preview(paths, train, policy, preprocessing)
    views = policy.views * len(train)
    say(f"{views} views of {len(train)} training images")
    return AugmentReport(views=views, flip=policy.flip)


def check_geometry(paths: Paths, params: AugmentParams, train: pd.DataFrame) -> FlipCheck | None:
    """Returns what a probe says of flips, None without flips.

    Raises ParamsError if flipping or rotating an image could change its target.
    """
    from tasks.core.errors import ParamsError
    from tasks.data.manifest import target_names

    policy = params.augment
    changes = {"flip": policy.flip, "rotation": policy.rotation, "automatic": policy.automatic != "none"}
    used = [name for name, is_used in changes.items() if is_used]
    if used and target_names(train):
        raise ParamsError(
            f"augment.{used[0]}: a rotated or flipped view may have another target; if not, set augment.check to false",
            key=f"augment.{used[0]}",
        )
    return check_flip(paths, params, train) if policy.flip else None


def check_flip(paths: Paths, params: AugmentParams, train: pd.DataFrame) -> FlipCheck:
    """Tests a probe on mirror images, and says the result."""
    from tasks.core.progress import say
    from tasks.core.target import TargetSpec
    from tasks.data.decoding import load
    from tasks.embedding.pretrained import frozen_backbone
    from tasks.hardware.precision import device_for
    from tasks.heads.flip_check import compare_mirrored, describe

    backbone = frozen_backbone(paths.pretrained, params.backbone, load(paths.decoding))
    compute = params.compute
    device = device_for(compute.device, compute.precision, backbone.module, backbone.preprocessing.crop)
    outcome = compare_mirrored(paths.raw, train, TargetSpec.load(paths.task), backbone, device, compute.batch)
    say(describe(outcome))
    return outcome
