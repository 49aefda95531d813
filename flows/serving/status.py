"""What the keeper tells people and other programs: lines on the terminal, and a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.serving.messages import Servable
from tasks.core.files import write_json


@dataclass
class Status:
    """The state of a server, written to `file` whenever it changes. `withdrawn` are versions that no longer answer."""

    file: Path
    log: Path
    url: str
    facts: dict[str, Any] = field(default_factory=dict)
    withdrawn: list[dict[str, Any]] = field(default_factory=list)
    is_blind: bool = False

    def update(self, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Changes facts."""
        self.facts |= facts
        with suppress(OSError):  # such as a full disk: requests are answered all the same
            write_json(self.file, {"url": self.url, **self.facts, "withdrawn": self.withdrawn})

    def withdraw(self, number: str) -> None:
        """Takes note that a version no longer answers."""
        self.withdrawn = [*self.withdrawn, {"version": number, "at": time.time()}][-10:]
        self.update()

    def serves(self, servable: Servable | None, difference: float | None, pids: Sequence[int]) -> None:
        """Takes note of the version that answers now, and of its golden picture's difference."""
        if servable is None:
            return
        proof = "it has no golden picture" if difference is None else f"golden picture: within {difference:.1g}"
        self.say(f"version {servable.number} of {servable.model} answers at {self.url} ({proof})")
        live = {"version": servable.number, "digest": servable.digest, "difference": difference}
        self.update(live=live, candidate=None, workers=pids)

    def complain(self, why: str) -> None:
        """Says, once, what is wrong; an empty text takes it back."""
        if why and why != self.facts.get("complaint"):
            self.say(why)
        self.update(complaint=why)

    def blind(self, why: str) -> None:
        """Says, once, why the live version cannot be told."""
        if why and not self.is_blind:
            self.say(why)
        if bool(why) != self.is_blind:
            self.is_blind = bool(why)
            self.update(blind=why)

    def say(self, text: str) -> None:
        """Prints a line with the time."""
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)
