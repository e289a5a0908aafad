"""Connections of HTTP/1.1 with time limits in both directions; uvicorn itself waits for ever."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vaeneer.serving.problems import problem_response

HEAD_SECONDS = 15.0
"""Longest that the head of a request may take to arrive."""
SEND_SECONDS = 20.0
"""Longest that a client may read nothing, or nearly nothing, of an answer."""
_LEAST_SENT_BYTES = 16 * 1024  # of an answer in that time, where more is waiting


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, without Nagle's delay, for clients that write and read."""

    _clock: asyncio.TimerHandle | None = None
    _send_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        _send_at_once(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: perhaps a request, perhaps a part of its head."""
        if not self.flow.write_paused:
            self._stop_watching()
        super().data_received(data)
        if self._is_asked():
            self._stop_waiting()
        else:
            self._wait_for_head()

    def pause_writing(self) -> None:
        """The client reads more slowly than an answer is made."""
        super().pause_writing()
        self._stop_watching()
        self._watch_sending()

    def resume_writing(self) -> None:
        """The client has read most of what was waiting."""
        super().resume_writing()
        self._stop_watching()

    def on_response_complete(self) -> None:
        """An answer is whole, though perhaps not sent yet."""
        super().on_response_complete()
        self._watch_sending()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; where an answer has begun already, hang up."""
        with suppress(h11.LocalProtocolError):
            answer = problem_response(400, msg, "")
            headers = [*answer.raw_headers, (b"connection", b"close")]
            events = [
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ]
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_sending()

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

    def _watch_sending(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting and self._send_clock is None:
            self._send_clock = self.loop.call_later(SEND_SECONDS, self._check_sending, waiting)

    def _check_sending(self, before: int) -> None:
        """Cut a client that has read too little since; `before`: bytes that waited then."""
        self._send_clock = None
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting > before - _LEAST_SENT_BYTES:
            self.transport.abort()
        else:
            self._watch_sending()

    def _stop_watching(self) -> None:
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None


def _send_at_once(transport: asyncio.Transport) -> None:
    """Set TCP_NODELAY: asyncio does so only for sockets that name their protocol, ours do not."""
    wire = transport.get_extra_info("socket")
    if wire is not None and wire.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # gone already
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
