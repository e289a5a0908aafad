"""The access token: read from a file, compared in constant time, wrong ones answered late."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from vaeneer.errors import SettingsError
from vaeneer.serving.schemas import Problem
from vaeneer.settings import ServeSettings

COOKIE = "vaeneer"
MIN_CHARACTERS = 16
MAX_DELAY_SECONDS = 1.0
"""Longest delay of the answer to a wrong token."""
FORGET_SECONDS = 60.0
"""After this time the wrong tokens of an address no longer count."""
MAX_ADDRESSES = 1024
_FIRST_DELAY_SECONDS = 0.05
_MAX_WAITING = 64
_MAX_BYTES = 4096


class Token:
    """A secret that clients send as a bearer token, and the page as a cookie derived from it."""

    def __init__(self, secret: str) -> None:
        """Raises SettingsError for a short one, or one that does not fit into a header."""
        if len(secret) < MIN_CHARACTERS or not secret.isascii() or not secret.isprintable():
            raise SettingsError(
                f"The token must have {MIN_CHARACTERS} or more printable ASCII characters;"
                " make one with: openssl rand -hex 32"
            )
        self._digest = _digest(secret)
        key = secret.encode()
        self.cookie = hmac.new(key, b"the cookie of the page", hashlib.sha256).hexdigest()

    def matches(self, secret: str) -> bool:
        """Whether a secret is the token, compared in constant time."""
        return hmac.compare_digest(self._digest, _digest(secret))

    def is_guessed(self, headers: Headers) -> bool:
        """Whether a request has a wrong bearer token."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and not self.matches(secret.strip())

    def authorizes(self, headers: Headers) -> bool:
        """Whether a request has the token or the cookie."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.matches(secret.strip())
        shown = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(self.cookie.encode(), shown.encode())


class WrongTokens:
    """Delays answers to wrong tokens, longer with each of an address; the right one never waits.

    What is remembered is bounded, and so is how many wait.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting = 0

    async def wait(self, address: str) -> None:
        """Wait before a wrong token is answered. Raises Problem 429 where too many do."""
        now = time.monotonic()
        count, last = self._known.pop(address, (0, now))
        count = count + 1 if now - last < FORGET_SECONDS else 1
        self._known[address] = count, now
        while len(self._known) > MAX_ADDRESSES:
            self._known.popitem(last=False)
        if self._waiting >= _MAX_WAITING:
            detail = "Too many wrong tokens; try again later."
            raise Problem(429, detail, {"Retry-After": "1"}, rejected="token")
        self._waiting += 1
        try:
            await asyncio.sleep(
                min(MAX_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(count - 1, 16))
            )
        finally:
            self._waiting -= 1

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._known)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def token_of(settings: ServeSettings) -> Token | None:
    """The token that settings ask for.

    Raises SettingsError for a file that cannot be read, and where others can reach the host and
    there is none.
    """
    if settings.token_file is None:
        if not is_loopback(settings.host):
            raise SettingsError(
                f"{settings.host} can be reached from other machines; name a --token-file, made"
                " with: openssl rand -hex 32 > token; chmod 600 token"
            )
        return None
    try:
        with settings.token_file.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{settings.token_file} cannot be read as a token: {error}") from error
    return Token(text.strip())


def _digest(secret: str) -> bytes:
    """A digest of equal length for every secret, so that comparing reveals nothing of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
