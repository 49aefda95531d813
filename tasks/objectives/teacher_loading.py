"""Loads a teacher with a head again, in another process that shares the file system."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tasks.core.errors import RootstockError
from tasks.core.objective_sections import TeacherParams
from tasks.core.target import TargetSpec
from tasks.models.backbone import Backbone
from tasks.objectives.teacher import Teacher, load
from tasks.scorer.preprocessing import Preprocessing


@dataclass(frozen=True)
class TeacherFile:
    """The files and settings of a teacher: its weights, its head if they have none, and its student's preprocessing."""

    file: Path
    params: TeacherParams
    target: TargetSpec
    head: Path
    student: Preprocessing

    def read(self) -> Teacher | Backbone:
        """Returns the teacher, or its backbone if it has no head."""
        teacher = load(self.file, self.params, self.target, self.head, self.student)
        return teacher if isinstance(teacher, Backbone) else self.reloadable(teacher)

    def reloadable(self, teacher: Teacher) -> Teacher:
        """Returns the teacher that these files hold, so that other processes can load it."""
        return replace(teacher, reload=partial(_answering, self, teacher.digest()))


def _answering(file: TeacherFile, digest: str, *, features: bool) -> Backbone:
    """Returns the network for inference. Raises RootstockError if the teacher is no longer what it was."""
    teacher = file.read()
    if isinstance(teacher, Backbone) or teacher.digest() != digest:
        raise RootstockError(f"{file.file} has changed meanwhile; run the command again", key="weights-changed")
    return teacher.answering(features=features)
