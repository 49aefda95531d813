"""Which version to serve: the live one or, if its workers die again and again, the last one that was live and good."""

from __future__ import annotations

import asyncio

from flows.registry.version_record import LiveVersion, is_same_live
from flows.serving.live_watch import UNKNOWN, LiveWatch, Sighting
from tasks.core.errors import RootstockError

POLL, POLL_SERVER, POLL_REGISTRY = 0.5, 5.0, 30.0  # seconds between looks: at a file, a server, by the fetcher


class Guide:
    """Decides what the keeper serves. Versions whose workers died are left out until another version is live."""

    def __init__(self, model: str) -> None:
        self._watch = LiveWatch(model)
        self._seen: LiveVersion | None = None
        self._skipped: list[LiveVersion] = []
        self.complaint = ""

    async def look(self) -> Sighting | None:
        """Returns the version to serve; None, with a complaint, if it cannot be told now."""
        try:
            sighting = await asyncio.to_thread(self._watch.look)
        except Exception as error:  # of the ledger, the network, or what a server answers
            reason = str(error) if isinstance(error, RootstockError) else f"{type(error).__name__}: {error}"
            self.complaint = f"which version is live cannot be told, so the present one is served on: {reason}"
            return None
        self.complaint = ""
        if not is_same_live(sighting.live, self._seen):
            self._seen, self._skipped = sighting.live, []
        if sighting is UNKNOWN or sighting.live is None or not self._is_skipped(sighting.live):
            return sighting if sighting is UNKNOWN else Sighting(sighting.live)
        good = (live for live in sighting.before if not self._is_skipped(live))
        return Sighting(next(good, sighting.live))

    def pause(self, sighting: Sighting | None) -> float:
        """Returns the seconds until the next look."""
        if sighting is UNKNOWN:
            return POLL_REGISTRY
        return POLL_SERVER if self._watch.asks_server else POLL

    def skip(self, live: LiveVersion) -> None:
        """Takes note that the workers of a version die again and again."""
        if not self._is_skipped(live):
            self._skipped.append(live)

    @property
    def why_not_live(self) -> str:
        """Returns in words why another version than the live one is served; empty if it is not."""
        numbers = " and ".join(live.number for live in self._skipped)
        return f"the workers of version {numbers} died again and again; the log tells why" if numbers else ""

    def _is_skipped(self, live: LiveVersion) -> bool:
        return any(live.is_same(skipped) for skipped in self._skipped)
