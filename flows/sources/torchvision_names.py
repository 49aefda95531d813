"""The names of torchvision's networks, read from its source, since importing it takes seconds and half a gigabyte."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\(\)\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)


@cache
def torchvision_names() -> frozenset[str]:
    """Returns the names that its classifiers are registered under. One that is missing here may exist nonetheless."""
    package = find_spec("torchvision")
    folder = Path(package.origin).parent / "models" if package and package.origin else Path()
    texts = (file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    return frozenset(name for text in texts for name in REGISTERED.findall(text))
