"""Features: embeds every usable image, and several views of the training images, with the frozen backbone."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, BackboneParams, ComputeParams

if TYPE_CHECKING:
    from tasks.hardware.device import Device
    from tasks.models.backbone import Backbone


class FeaturesSection(Section):
    """The training rows of the head, and the feature cache."""

    views: int = Field(ge=0, description="views of each training image for the head, in addition to the clean one")
    compile: int = Field(ge=0, description="number of new rows from which compiling the network is tried; 0: never")
    store: float = Field(
        gt=0, description="GiB for features of earlier runs; the least recently used are removed, none of the last hour"
    )


class FeaturesParams(StageParams):
    """The parameters that features reads."""

    backbone: BackboneParams
    compute: ComputeParams
    features: FeaturesSection


class FeaturesReport(Section):
    """The numbers of rows and of newly embedded rows, the feature width, device, precision, and whether compiled."""

    rows: int
    embedded: int
    width: int
    device: str
    precision: str
    compiled: bool


def features(paths: Paths, params: FeaturesParams) -> FeaturesReport:
    """Writes the feature matrix (N, D), one row per view in manifest order, and its index.

    Only rows missing from the store are embedded.
    """
    import numpy as np
    import torchvision  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.files import sha256_of
    from tasks.core.progress import say
    from tasks.data.decoding import load
    from tasks.embedding import compiled as compiling
    from tasks.embedding.context import context
    from tasks.embedding.extraction import Extraction
    from tasks.embedding.feature_store import FeatureStore
    from tasks.embedding.index import check_views, images_per_block, missing_views, view_blocks
    from tasks.embedding.matrix import write_features
    from tasks.embedding.pretrained import PretrainedFile
    from tasks.embedding.spreading import embed_to_store
    from tasks.embedding.thread_count import threads_with_room
    from tasks.hardware.precision import device_for
    from tasks.images.transforms import RenderStyle

    views, batch, policy = params.features.views, params.compute.batch, AugmentPolicy.read(paths.policy)
    check_views(views, policy)
    weights = paths.pretrained.absolute()
    load_backbone = PretrainedFile(weights, params.backbone, load(paths.decoding), sha256_of(weights))
    backbone = load_backbone()
    device = device_for(params.compute.device, params.compute.precision, backbone.module, backbone.preprocessing.crop)
    style = RenderStyle.of(policy)
    blocks = partial(view_blocks, paths.manifest, images_per_block(backbone.width, views), policy, views)
    facts = context(paths.pretrained, params.backbone, backbone, device, style, batch)
    stores = [FeatureStore(paths.feature_store, {**facts, "compiled": how}) for how in (None, compiling.code())]
    plain, quick = np.sum([[store.count_missing(block.key_N2) for store in stores] for block in blocks()], axis=0)
    counts = (int(plain), int(quick))
    threads = threads_with_room(backbone.module, backbone.preprocessing.crop, device, batch)
    backbone, fast = compiled_if_faster(backbone, device, batch, counts, params.features.compile, threads)
    loader = compiling.CompiledFile(load_backbone, device, batch) if fast else load_backbone
    store = stores[fast]
    missing = [store.missing(block.key_N2) for block in blocks()]
    embedded = int(sum(missing_N.sum() for missing_N in missing))
    refuse_full_disk(paths, 4 * backbone.width, embedded, sum(map(len, missing)))
    new = missing_views(blocks(), missing, batch)
    extraction = Extraction(backbone, device, style, batch, paths.raw)
    embed_to_store(extraction, loader, store, new, ceil(embedded / batch), threads)
    store.collect(params.features.store)
    rows = write_features(paths, ((store[block.key_N2], block.index) for block in blocks()))
    say(f"{rows} rows of {backbone.width}: {embedded} embedded, {rows - embedded} from the store")
    return FeaturesReport(
        rows=rows,
        embedded=embedded,
        width=backbone.width,
        device=device.device.type,
        precision=str(device.dtype).removeprefix("torch."),
        compiled=fast,
    )


def compiled_if_faster(
    backbone: Backbone, device: Device, batch: int, missing: tuple[int, int], threshold: int, threads: int
) -> tuple[Backbone, bool]:
    """Returns the network to embed with, and whether to use the store of compiled features.

    `missing` are the numbers of rows missing from the plain and the compiled network's store. `threshold` is the
    minimum number of new rows for which compiling is considered; `threads` embed at a time.
    """
    from tasks.embedding import compiled
    from tasks.hardware.threads import one_thread

    with one_thread():
        if not compiled.pays(backbone, device, batch, *missing, threshold, threads):
            return backbone, False
        if not missing[True]:
            return backbone, True
        network = compiled.attempted(backbone, device, batch)
    return network or backbone, network is not None


def refuse_full_disk(paths: Paths, row: int, embedded: int, rows: int) -> None:
    """Raises RootstockError before rows are embedded that the disk has no room for; `row` are the bytes of one."""
    from tasks.core.disk import refuse_if_full

    remedy = (
        "lower features.views, free some space (make prune shows what nothing needs any more), or use a larger disk"
    )
    refuse_if_full({paths.feature_store: row * embedded}, f"embedding {embedded} rows", remedy)
    before = sum(file.stat().st_size for file in paths.feature_store.rglob("*.safetensors"))  # which make room
    refuse_if_full({paths.matrix: row * (rows + embedded) - before}, f"a matrix of {rows} rows", remedy)
