"""uvicorn's HTTP protocol, which also closes connections on which no whole head of a request arrives in time.

uvicorn itself waits for it without end, so that a few clients could hold all connections (Slowloris).
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
REST_SECONDS = 2.0  # for which the rest of a refused body is read, so that its sender sees the answer


class TimedProtocol(H11Protocol):
    """Limits the time between a connection, or the first byte after an answer, and the end of a request's head."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Stops waiting if the head is complete, and waits for that of the next request if it has begun."""
        super().data_received(data)
        if self.conn.our_state is h11.SEND_RESPONSE:
            self._stop()
        elif self.conn.their_state is h11.IDLE and self._timer is None:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        self._stop()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Closes the connection soon if the request's body was not wanted."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._stop()
            self._timer = self.loop.call_later(REST_SECONDS, self.transport.close)

    def _begin(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
