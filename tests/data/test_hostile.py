"""Each hostile file is accounted for once, by ingest and by the scorer, within a limit of memory."""

from __future__ import annotations

import json

import pytest

from tests.data.hostile import crafted, write_mutated
from tests.project import ROOT, run_python

READ = """
import json, os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
os.cpu_count = lambda: 2
root, reader = Path(sys.argv[1]), sys.argv[2]
from tasks.data.file_facts import facts_of_files as facts
from tasks.data.image_files import find
listing = find(root)
if reader == "ingest":
    reasons = [row.get("quarantine", "") for row in facts(root, listing.images, {})]
else:
    from tasks.scorer.answer import Scorer, spec_of
    from tasks.scorer.network import build_network
    from tasks.scorer.preprocessing import Preprocessing
    preprocessing = Preprocessing(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear")
    scorer = Scorer(build_network("resnet10", 2), spec_of("resnet10", ("a", "b"), preprocessing))
    reasons = [reason for _, reason in scorer.stream((root / file).read_bytes() for file in listing.images)]
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps([listing.images, listing.others, reasons, peak]))
"""
MUTATED = 300  # files
MAX_PEAK = {"ingest": 1.5, "scorer": 1.75}  # GiB; of the scorer's, PyTorch's libraries take 0.8 without an image


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["ingest", "scorer"])
def test_hostile_files_are_accounted_for_once_within_a_limit_of_memory(tmp_path, reader):
    write_mutated(tmp_path / "c", MUTATED)
    names = []
    for name, content in crafted():
        (tmp_path / "c" / f"x-{name}").write_bytes(content)
        names.append(f"c/x-{name}")
    assert len(names) > 50
    done = run_python(ROOT, "-c", READ, str(tmp_path), reader)
    assert done.returncode == 0, done.stderr
    images, others, reasons, peak = json.loads(done.stdout.splitlines()[-1])
    assert len(images) == len(reasons)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert sorted([*images, *others]) == files
    answered = {image for image, reason in zip(images, reasons, strict=True) if not reason}
    assert 0.1 < len(answered) / MUTATED < 0.9
    assert {"c/x-rgb.png", "c/x-real.jpg", "c/x-frames.gif", "c/x-pages.tif"} <= answered
    assert (
        not {
            "c/x-huge.png",
            "c/x-wide.png",
            "c/x-tall.png",
            "c/x-65500-progressive.jpg",
            "c/x-huge.tif",
            "c/x-huge.j2k",
        }
        & answered
    )
    assert ("c/x-reduced.jpg" in answered) == (reader == "scorer")
    assert peak / 2**20 < MAX_PEAK[reader]
