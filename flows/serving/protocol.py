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
    _is_refusing = False
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Stops waiting if the head is complete, and waits for that of the next request if it has begun."""
        super().data_received(data)
        if self.conn.our_state is h11.SEND_RESPONSE or (self._is_refusing and self.conn.their_state is h11.IDLE):
            self._stop()
            self._is_refusing = False
        elif self.conn.their_state is h11.IDLE and self._timer is None:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        self._stop()
        self._read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Waits for a client that does not read its answer, and gives it up after a while."""
        super().pause_writing()
        self._unread = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Goes on, since the client has read."""
        super().resume_writing()
        self._read()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, also if its client has not read the last answer."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(REST_SECONDS, self.transport.abort)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_response_complete(self) -> None:
        """Closes the connection soon if the request's body is not read."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._stop()
            self._is_refusing = True
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
