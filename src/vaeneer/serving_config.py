"""Settings of `vaeneer serve`, as in config.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeneer.bounds import require, require_types
from vaeneer.errors import SettingsError

_LARGEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the page and the API are, and how much one request may ask for."""

    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own (127.0.0.1, ::1, localhost) needs a
    token."""

    port: int = 8765
    """TCP port; 0 takes a free one."""

    token_file: Path | None = None
    """File with the token that clients must show: one line of 16 characters or more."""

    allowed_hosts: str | None = None
    """Other names that the server is called by, divided by commas: surfaces.example.org."""

    max_upload_bytes: int = 32 * 2**20
    """Largest body of a request with pictures."""

    max_megapixels: float = 100.0
    """Pictures with more pixels are not decoded."""

    timeout_seconds: float = 30.0
    """Longest that a request may take to arrive, and then to be answered."""

    queue_length: int = 64
    """Requests that may wait for the network at once; the next are told to come again (503)."""

    batch_crops: int = 32
    """Crops of several requests that go through the network together."""

    batch_wait_ms: float = 5.0
    """Longest that the first of them waits for others, milliseconds."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            self,
            port=0,
            max_upload_bytes=1024,
            max_megapixels=0.01,
            timeout_seconds=0.1,
            queue_length=1,
            batch_crops=1,
            batch_wait_ms=0,
        )
        if self.port > _LARGEST_PORT:
            raise SettingsError(f"port is {self.port}; use 0 to {_LARGEST_PORT}.")
