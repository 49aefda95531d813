"""torchvision is imported without torch's compiler, and its functions that need the compiler still work."""

from __future__ import annotations

import pytest

from tests.project import ROOT, run_python

LIGHT = "from tasks.hardware.torchvision_import import without_compiler; without_compiler()"
USES = {
    "nothing": "import torchvision, torchvision.transforms.v2, tasks.models.backbone",
    "a compiled network": "import torchvision; torch.compile(torch.nn.Linear(2, 3), backend='eager')(torch.ones(1, 2))",
    "regions": (
        "import torchvision; torch.use_deterministic_algorithms(True); "
        "assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), torch.zeros(1, 5), 1).shape == (1, 1, 1, 1); "
        "from torchvision.ops import roi_align; "
        "assert sys.modules[roi_align.__module__].is_compile_supported('cpu') in {True, False}"
    ),
    "typed images": (
        "from torchvision import tv_tensors; image = tv_tensors.Image(torch.ones(3, 2, 2)); "
        "assert type(tv_tensors.wrap(torch.zeros(3, 2, 2), like=image)) is tv_tensors.Image"
    ),
}


@pytest.mark.parametrize("use", USES)
def test_the_compiler_is_imported_when_it_is_used(use):
    script = f"{LIGHT}; import sys, torch; {USES[use]}; print('torch._dynamo' in sys.modules)"
    done = run_python(ROOT, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{use != 'nothing'}\n"


def test_torchvision_itself_imports_the_compiler():
    """If it no longer does, the detour can go."""
    for module in ("torchvision.ops.roi_align", "torchvision.tv_tensors"):
        done = run_python(ROOT, "-c", f"import sys, {module}; print('torch._dynamo' in sys.modules)")
        assert done.stdout == "True\n", done.stderr
