"""Distillation until the student is as good as the teacher: MNIST, ResNet-18 and a student of a ninth of its size."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.schema import VALUE, Candidate, Curve, Metric
from tasks.reports.page import markdown_table
from tasks.scorer.network import build_network
from tests.benchmarks.drawing import lines
from tests.benchmarks.results import Results, machine, spread
from tests.benchmarks.sets import PLAIN, WHOLE, ingested, random_backbone, unpacked
from tests.benchmarks.study import Study

SEEDS = 3
TEACHER, STUDENT = "resnet18", "shufflenet_v2_x1_0"
COMMON = {**PLAIN, **WHOLE, "backbone.resize": 32, "backbone.crop": 32, "features.views": 0, "augment.views": 8}
COMMON |= {"finetune.batch": 64, "finetune.rate": 0.001, "finetune.head_rate": 0.001, "head.strengths": [1.0e9]}
DISTIL = {"objective": "distillation", "teacher.weights": "brought in", "distillation.margin": 0.003}
DISTIL |= {"finetune.epochs": 16, "distillation.agreement": 0.985, "finetune.rate": 0.003, "finetune.head_rate": 0.003}
DRAWN = {"teacher": Curve.TEACHER_SCORE, "student": Curve.VALIDATION_SCORE, "agreement": Curve.AGREEMENT}


def run(results: Results) -> str:
    """Returns the benchmark's table and saves a plot of the student's progress."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [results.measured(f"seed {seed}", lambda: one(Path(folder), seed)) for seed in range(SEEDS)]
    curves = [seed["curve"] for seed in seeds]
    lines("distillation", {name: [c[name] for c in curves] for name in curves[0]}, "epoch", "validation, %", 90)
    columns = [name for name in seeds[0] if name != "curve"]
    row = [spread([seed[name] for seed in seeds], 2) for name in columns]
    return f"{markdown_table(columns, [row])}\n\nMNIST, {SEEDS} seeds; {machine()}"


def one(root: Path, seed: int) -> dict[str, Any]:
    """Returns test accuracies and agreement, in percent; epochs, seconds and relative size; and the curve."""
    raw = unpacked(root / "digits", "digits_mnist_usps.tar.gz") / "mnist"
    manifest = ingested(root, raw)
    big = {**COMMON, "backbone.architecture": TEACHER, "finetune.epochs": 4, "seed": seed}
    teacher = Study(root / "teacher", raw, random_backbone(root / "big.safetensors", TEACHER, seed), big)
    teacher.forget()
    teacher.use(manifest)
    teacher_seconds = teacher.run("augment", "features", "head", "finetune", "evaluate")
    small = {**COMMON, **DISTIL, "backbone.architecture": STUDENT, "seed": seed}
    student = Study(root / "student", raw, random_backbone(root / "small.safetensors", STUDENT, seed), small)
    student.forget()
    student.use(manifest)
    teacher.becomes_teacher(student.paths.teacher)
    student_seconds = student.run("augment", "features", "head", "finetune", "evaluate")
    table, curve = read_json(student.paths.metrics), student.report()
    last = curve.iloc[-1]
    sizes = [sum(p.numel() for p in build_network(name, 10).parameters()) for name in (STUDENT, TEACHER)]
    return {
        "teacher, %": 100 * table[Candidate.TEACHER][Metric.ACCURACY][VALUE],
        "student, %": 100 * table[Candidate.TUNED][Metric.ACCURACY][VALUE],
        "agreement, %": 100 * table[Candidate.TUNED][Metric.AGREEMENT][VALUE],
        "agreement on validation, %": 100 * float(last[Curve.AGREEMENT]),
        "epochs until the rule stopped it": float(last[Curve.EPOCH]),
        "parameters, % of the teacher's": 100 * sizes[0] / sizes[1],
        "teacher's seconds": teacher_seconds,
        "student's seconds": student_seconds,
        "curve": {title: (100 * curve[name]).tolist() for title, name in DRAWN.items()},
    }
