"""The import closure: the code that an edit of a file can affect."""

from __future__ import annotations

import pytest

from tasks.core import digest


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Creates a tasks/ folder with a module that uses every kind of import."""
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    forget()
    sources = {
        "stage": (
            "from typing import TYPE_CHECKING\nimport os\nfrom tasks.core import absolute\n"
            "from tasks.core.member import thing\nif TYPE_CHECKING:\n    from tasks.core import typed\n"
            "PLUGINS = {'x': 'tasks.core.plugin:Class'}\n"
            "def run():\n    import tasks.core.lazy\n    return 'tasks.core.unheard_of'\n"
        ),
        "core/absolute": "from . import sibling\nfrom .nephew import thing\n",
        "core/member": "from tasks import stage\nthing = 1\n",  # a cycle terminates
        **{f"core/{name}": "" for name in ("typed", "plugin", "lazy", "sibling", "nephew", "apart")},
    }
    for name, source in sources.items():
        file = tmp_path / "tasks" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    yield tmp_path / "tasks"
    forget()


def forget() -> None:
    digest._imports.cache_clear()
    digest.code_digest.cache_clear()


def test_the_closure_follows_every_kind_of_import_except_type_checking(house):
    names = {str(file.relative_to(house)) for file in digest.closure("tasks.stage")}
    imported = {"absolute", "member", "plugin", "lazy", "sibling", "nephew"}
    assert names == {"stage.py", *(f"core/{name}.py" for name in imported)}


def test_the_digest_depends_on_names_and_contents_and_is_computed_once(house):
    def fresh() -> str:
        forget()
        return digest.code_digest("tasks.stage")

    first = fresh()
    (house / "core" / "apart.py").write_text("other = 1\n")
    assert fresh() == first
    (house / "core" / "lazy.py").write_text("other = 1\n")
    second = fresh()
    assert second != first
    (house / "core" / "lazy.py").write_text("")
    assert digest.code_digest("tasks.stage") == second, "what a process runs is what it began with"
    (house / "core" / "sibling.py").rename(house / "core" / "brother.py")
    (house / "core" / "absolute.py").write_text("from . import brother\nfrom .nephew import thing\n")
    renamed = fresh()
    (house / "core" / "brother.py").rename(house / "core" / "sibling.py")
    (house / "core" / "absolute.py").write_text("from . import sibling\nfrom .nephew import thing\n")
    assert fresh() == first != renamed
