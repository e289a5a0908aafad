"""JPEG files rebuilt without damaged segments, and whether their pixels are all there.

A decoder fills what is cut with grey. Whether it had to is tried out: with other bytes behind
the compressed pixels, a whole picture stays as it is, for the decoder needs none of them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from vaeneer.data.image_formats import DAMAGED_EXIF, orientation_exif, orientation_in

_END = b"\xff\xd9"
_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_DECODING = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD}) | _FRAMES
_LOSSLESS = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})  # or hierarchical
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)  # with a length, or the end
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_PROFILE_NAME = b"ICC_PROFILE\0"
_PADDING_BYTES = 16  # of zeros at the end are none of the pixels
_GREY = 128


class TruncatedError(ValueError):
    """The compressed pixels end before the last block of the picture."""


@dataclass
class _Coverage:
    """Which coefficients of which component the scans of a frame have brought to full precision."""

    progressive: bool = False
    components: tuple[int, ...] = ()
    done: dict[int, set[int]] = field(default_factory=dict)

    def add_frame(self, marker: int, body: bytes) -> None:
        self.progressive = marker in _PROGRESSIVE
        self.components = tuple(body[6 : 6 + 3 * body[5] : 3]) if len(body) > 5 else ()
        self.done = {one: set() for one in self.components}

    def add_scan(self, body: bytes) -> None:
        count = body[0] if body else 0
        if len(body) < 4 + 2 * count:
            return
        first, last, precision = body[1 + 2 * count : 4 + 2 * count]
        if not self.progressive:
            first, last, precision = 0, 63, 0
        if precision & 0x0F == 0:
            for component in body[1 : 1 + 2 * count : 2]:
                self.done.setdefault(component, set()).update(range(first, last + 1))

    @property
    def whole(self) -> bool:
        return bool(self.components) and all(len(self.done[one]) == 64 for one in self.components)


@dataclass(frozen=True)
class _Segment:
    marker: int
    body: bytes
    start: int
    end: int


def rebuild_jpeg(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Rebuild a JPEG with what its pixels need, and describe what was dropped or missing.

    Raises TruncatedError where its pixels are cut, NotImplementedError for a kind of JPEG that
    libjpeg does not decode to 8 bits.
    """
    head: list[_Segment] = []
    scan = len(data)
    for segment in _segments(data, 2):
        if segment.marker == _SCAN:
            scan = segment.start
            break
        head.append(segment)
    if scan == len(data):
        raise TruncatedError("no pixels")
    for one in head:
        if one.marker in _FRAMES:
            _check_kind(one)
    start, dropped = _clean_head(head)
    end, covered, ended = _end_of_scans(data, head, scan)
    scans = data[scan:end]
    whole = start + scans + _END
    if not ended:
        dropped.append("the end marker is missing")
    if not covered or (not ended and not _needs_no_more(start + scans)):
        raise TruncatedError("the pixels are cut")
    return whole, tuple(dropped) or ("metadata dropped: all but colour and orientation",)


def _check_kind(frame: _Segment) -> None:
    """Refuse what is whole but not decoded."""
    bits = frame.body[0] if frame.body else 8
    channels = frame.body[5] if len(frame.body) > 5 else 3
    if frame.marker in _LOSSLESS:
        raise NotImplementedError("lossless or hierarchical JPEG, save it as PNG")
    if bits != 8:
        raise NotImplementedError(f"{bits}-bit JPEG, save it as 16-bit PNG")
    if channels not in (1, 3, 4):
        raise NotImplementedError(f"JPEG of {channels} channels, save it as PNG")


def is_cut_jpeg(data: bytes, *, progressive: bool) -> bool:
    """Whether the compressed pixels end too early; for a file that decodes, but suspiciously.

    progressive: whether to trust an end marker behind all scans, for which grey says nothing.
    """
    try:
        head: list[_Segment] = []
        for segment in _segments(data, 2):
            if segment.marker == _SCAN:
                end, covered, ended = _end_of_scans(data, head, segment.start)
                quick = ended and progressive
                return not covered or not (quick or _needs_no_more(data[:end]))
            head.append(segment)
    except (ValueError, IndexError):
        pass
    return True


def looks_cut(image: Image.Image, tail: bytes) -> bool:
    """Whether a decoded JPEG could be filled up with grey, so that `is_cut_jpeg` must look.

    tail: the last bytes of the file.
    """
    if image.info.get("progressive") or (len(tail) >= _PADDING_BYTES and not tail.strip(b"\0")):
        return True
    last = image.getpixel((image.width - 1, image.height - 1))
    levels = last if isinstance(last, tuple) else (last,)
    grey = _GREY if image.mode != "CMYK" else 255 - _GREY
    return all(level == grey for level in levels)


def _segments(data: bytes, at: int) -> Iterator[_Segment]:
    """Each segment from a position on; bytes between segments are passed over."""
    while found := _MARKER.search(data, at):
        at = found.start()
        marker = data[at + 1]
        if marker == 0xD9:
            yield _Segment(marker, b"", at, at + 2)
            return
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + max(2, size)
        if marker not in _DECODING and end + 2 > len(data):  # a wrong length: look for the next
            at += 2
            continue
        yield _Segment(marker, data[at + 4 : end], at, end)
        at = end


def _clean_head(head: list[_Segment]) -> tuple[bytes, list[str]]:
    """The segments that decide about pixels, colour and orientation, and what was dropped."""
    kept, dropped, profile = [b"\xff\xd8"], list[str](), list[bytes]()
    orientation: int | None = 1
    for one in head:
        if one.marker in _DECODING:
            kept.append(_segment(one.marker, one.body))
        elif one.marker == 0xE0 and one.body.startswith(b"JFIF\0"):
            if len(one.body) >= 14:
                kept.insert(1, _segment(0xE0, one.body[:12] + b"\0\0"))
            else:
                dropped.append("metadata dropped: JFIF is damaged")
        elif one.marker == 0xEE and one.body.startswith(b"Adobe") and len(one.body) >= 12:
            kept.append(_segment(one.marker, one.body))
        elif one.marker == 0xE2 and one.body.startswith(_PROFILE_NAME):
            profile.append(one.body)
        elif one.marker == 0xE1 and one.body.startswith(b"Exif"):
            orientation = orientation_in(one.body)
    if orientation is None:
        dropped.append(DAMAGED_EXIF)
    elif orientation != 1:
        kept.insert(1, _segment(0xE1, orientation_exif(orientation)))
    if _is_profile(profile):
        kept[1:1] = [_segment(0xE2, part) for part in profile]
    elif profile:
        dropped.append("metadata dropped: the ICC profile is damaged")
    return b"".join(kept), dropped


def _is_profile(parts: list[bytes]) -> bool:
    """Whether the segments of a profile are all there, with the size that it names."""
    if not parts or any(len(part) < 14 for part in parts):
        return False
    numbers = [part[12] for part in sorted(parts)]
    if numbers != list(range(1, len(parts) + 1)) or any(part[13] != len(parts) for part in parts):
        return False
    profile = b"".join(part[14:] for part in sorted(parts))
    return profile[36:40] == b"acsp" and int.from_bytes(profile[:4], "big") <= len(profile)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _end_of_scans(data: bytes, head: list[_Segment], at: int) -> tuple[int, bool, bool]:
    """Where the pixels end, whether all coefficients have a scan, whether an end marker follows."""
    coverage = _Coverage()
    for one in head:
        if one.marker in _FRAMES:
            coverage.add_frame(one.marker, one.body)
    for segment in _segments(data, at):
        if segment.marker == 0xD9:
            return segment.start, coverage.whole, True
        if segment.marker == _SCAN and segment.end <= len(data):
            coverage.add_scan(segment.body)
    end = len(data.rstrip(b"\xff"))
    bare = len(data[:end].rstrip(b"\0"))
    return (bare if end - bare >= _PADDING_BYTES else end), coverage.whole, False


def _needs_no_more(data: bytes) -> bool:
    """Whether a JPEG without its end decodes to the same pixels whatever comes behind it."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 255, 64, np.uint8).tobytes() for _ in range(2)]
    tails = [b"", b"\xaa" * 64, *noise]
    if b"\xff\xdd" in data:  # restart markers, before which a decoder passes over the noise
        last = [0xD7, *(found[0] for found in _RESTART.findall(data))][-1]
        following = bytes((0xFF, 0xD0 + (last + 1) % 8))
        tails += [following + b"\xaa" * 64, following + noise[0]]
    first: np.ndarray | None = None
    for tail in tails:
        try:
            with Image.open(io.BytesIO(data + tail + _END), formats=("JPEG",)) as image:
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError):
            return False
        if first is not None and not np.array_equal(first, pixels):
            return False
        first = pixels
    return True
