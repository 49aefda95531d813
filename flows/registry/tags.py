"""Tags of runs, registered models and model versions in MLflow, and the lineage tags of the current checkout."""

from __future__ import annotations

from enum import StrEnum

from flows.local import git
from flows.stages import dvc_cli
from tasks.core.paths import Paths

MAX_TAG_LENGTH = 500  # characters


class Tag(StrEnum):
    """Tags of runs and model versions."""

    CHECKOUT = "rootstock.checkout"
    KEY = "rootstock.key"
    PROOF = "rootstock.proof"
    FILES = "rootstock.files"
    VERDICT = "rootstock.verdict"
    VERDICT_AGAINST = "rootstock.verdict.against"
    VERDICT_WHY = "rootstock.verdict.why"
    RELEASE = "rootstock.release"
    RECIPE = "rootstock.recipe"  # the kept recipe of a search
    LEDGER = "rootstock.ledger"  # on the registered model: ID, last line and place of the ledger that owns its releases
    DATA_MD5 = "dvc.data_md5"
    WEIGHTS_MD5 = "dvc.weights_md5"
    TEACHER_MD5 = "dvc.teacher_md5"
    GIT_COMMIT = "git.commit"
    GIT_DIRTY = "git.dirty"


def lineage(paths: Paths) -> dict[str, str]:
    """Returns the tags that identify data, weights, teacher and code: MD5 digests from DVC and the git commit."""
    return {
        Tag.DATA_MD5: dvc_cli.tracked_md5(paths.raw),
        Tag.WEIGHTS_MD5: dvc_cli.tracked_md5(paths.candidates),
        Tag.TEACHER_MD5: dvc_cli.tracked_md5(paths.teacher),
        Tag.GIT_COMMIT: git.commit(),
    }
