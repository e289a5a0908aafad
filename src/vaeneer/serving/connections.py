"""Connections that say nothing, or say it byte by byte, are closed: uvicorn waits for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""Longest that the head of a request may take to arrive."""


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with a limit on the time until a request has begun."""

    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: perhaps a request, perhaps a part of its head."""
        super().data_received(data)
        if self._is_asked():
            self._stop_waiting()
        else:
            self._wait_for_head()

    def _is_asked(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _stop_waiting(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_late(self) -> None:
        self._clock = None
        if not self._is_asked() and not self.transport.is_closing():
            self.transport.abort()
