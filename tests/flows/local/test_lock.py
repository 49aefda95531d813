from __future__ import annotations

import subprocess
import sys

from flows.local.lock import flow_lock, holder
from tasks.core.errors import RootstockError
from tests.errors import raises
from tests.project import ROOT, environment

HOLDING = """
from pathlib import Path
from flows.local.lock import flow_lock
with flow_lock(Path({folder!r}), "retrain"):
    print("in", flush=True)
    input()
"""


def test_the_lock_is_free_again_however_its_holder_ended(tmp_path):
    holding = HOLDING.format(folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", holding], cwd=ROOT, env=environment(), stdin=-1, stdout=-1, text=True
    )
    assert process.stdout.readline() == "in\n"
    with raises(RootstockError, "checkout-busy") as caught, flow_lock(tmp_path, "other"):
        pass
    assert f"retrain (process {process.pid}) since 20" in str(caught.value)
    process.kill()
    process.wait()
    with flow_lock(tmp_path, "other"):
        assert holder(tmp_path).startswith("other")
