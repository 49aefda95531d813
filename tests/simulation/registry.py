"""A registry in memory with the part of MLflow's client that releases use; each call may fail or be interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

NAME = re.compile("name = '(.*)'")


class Version(SimpleNamespace):
    """A model version; `files` stands for the contents of its files. As in MLflow, callers get copies."""

    def copied(self) -> Version:
        return Version(**{**self.__dict__, "tags": dict(self.tags), "aliases": list(self.aliases)})


Identity = tuple[str, int]  # number and creation time of a version


def key_of(version: Version) -> Identity:
    return version.version, version.creation_timestamp


class Model(SimpleNamespace):
    """A registered model: tags, aliases, and versions by number."""


class MemoryRegistry:
    """Models and runs. `step` is called before and after each call, and may raise."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self.models: dict[str, Model] = {}
        self.artifacts: dict[str, dict[str, str]] = {}  # by run and name
        self.written: dict[str, list[str]] = {}  # by run: all that was ever stored
        self.now = 1_000_000
        self._step, self._made = step, 0

    def __getattribute__(self, name: str) -> object:
        """Wraps each of MLflow's methods into two steps: a call can be lost, or its answer."""
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value) or name not in CALLS:
            return value

        def call(*arguments: object, **more: object) -> object:
            self._step("before")
            answer = value(*arguments, **more)
            self._step("after")
            return answer

        return call

    def create_model(self, name: str) -> None:
        self.models.setdefault(name, Model(name=name, tags={}, aliases={}, versions={}, next=1))

    def create(self, name: str, source: str | None = None, **tags: str) -> Version:
        """Adds a version with new files, unless `source` names others."""
        self.create_model(name)
        model, self._made, self.now = self.models[name], self._made + 1, self.now + 1
        number, run = model.next, f"run{self._made}"
        self.artifacts[run] = {}
        version = Version(
            name=name,
            version=str(number),
            creation_timestamp=self.now,
            source=source or f"files{self._made}",
            files=f"files{self._made}",
            run_id=run,
            tags=tags,
            aliases=[],
        )
        model.versions[str(number)], model.next = version, number + 1
        return version

    def all_versions(self) -> list[Version]:
        return [version for model in self.models.values() for version in model.versions.values()]

    def search_registered_models(self, query: str) -> list[Model]:
        model = self.models.get(NAME.match(query)[1])
        return [Model(name=model.name, tags=dict(model.tags))] if model else []

    def search_model_versions(self, query: str) -> list[Version]:
        model = self.models.get(NAME.match(query)[1])
        return [version.copied() for version in model.versions.values()] if model else []

    def get_model_version(self, name: str, number: str) -> Version:
        return self._one(name, number)

    def get_model_version_by_alias(self, name: str, alias: str) -> Version:
        self._versions(name)
        return self._one(name, self.models[name].aliases.get(alias, "0"))

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        self._one(name, number)
        self.models[name].aliases[alias] = str(number)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._versions(name)
        self.models[name].aliases.pop(alias, None)

    def set_model_version_tag(self, name: str, number: str, key: str, value: str) -> None:
        self._one(name, number)
        self.models[name].versions[str(number)].tags[key] = value

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._versions(name)
        self.models[name].tags[key] = value

    def delete_model_version(self, name: str, number: str) -> None:
        self._one(name, number)
        model = self.models[name]
        del model.versions[str(number)]
        model.aliases = {alias: at for alias, at in model.aliases.items() if at != str(number)}

    def log_text(self, run: str, text: str, name: str) -> None:
        self.artifacts[run][name] = text
        self.written.setdefault(run, []).append(text)

    def list_artifacts(self, run: str, folder: str) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(path=name, is_dir=False, file_size=1)
            for name in self.artifacts[run]
            if name.startswith(folder)
        ]

    def download_artifacts(self, run: str, name: str, target: str) -> str:
        file = Path(target) / "record.json"
        file.write_text(self.artifacts[run][name], encoding="utf-8")
        return str(file)

    def _one(self, name: str, number: str) -> Version:
        version = self._versions(name).get(str(number))
        if version is None:
            raise MlflowException("no such version", RESOURCE_DOES_NOT_EXIST)
        copied = version.copied()
        copied.aliases = [alias for alias, at in self.models[name].aliases.items() if at == str(number)]
        return copied

    def _versions(self, name: str) -> dict[str, Version]:
        if name not in self.models:
            raise MlflowException("no such model", RESOURCE_DOES_NOT_EXIST)
        return self.models[name].versions


OURS = {"create", "create_model", "all_versions"}
CALLS = {name for name in vars(MemoryRegistry) if not name.startswith("_")} - OURS
