"""Names of folders and files that hold no originals, and the patterns that a user excludes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeneer.errors import SettingsError
from vaeneer.text import match_key, printable

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

THUMBNAILS = "thumbnails"
"""The reason for folders that --include-previews brings back."""

_FOLDERS = {
    THUMBNAILS: (
        "@eadir",  # Synology DSM: thumbnails and indexes beside every picture
        ".@__thumb",  # QNAP QTS
        "thumbs", "thumb", "thumbnails", "thumbnail", "previews",  # Quixel, galleries, freedesktop
    ),
    "recycle bin": (
        "#recycle",  # Synology
        "@recycle",  # QNAP
        "$recycle.bin", "recycler",  # Windows
        ".trash", ".trashes",  # macOS
        ".recycle",  # Samba, as Unraid and TrueNAS set it up
        "network trash folder",  # Netatalk
        "lost+found", "found.000",  # pieces that fsck and chkdsk found
    ),
    "snapshots": (
        "#snapshot",  # Synology
        "@recently-snapshot",  # QNAP
        ".zfs",  # ZFS
        ".snapshot", "~snapshot",  # NetApp
        ".snapshots",  # Btrfs with Snapper
        ".ckpt",  # EMC
    ),
    "system folder": (
        "system volume information",  # Windows
        "@tmp", "@sharebin", "@sharesnap",  # Synology
        ".streams",  # QNAP
        ".spotlight-v100", ".fseventsd", ".temporaryitems", ".documentrevisions-v100",  # macOS
        "__macosx", ".appledouble",  # what macOS adds to ZIP files and to foreign disks
    ),
    "version control": (".git", ".hg", ".svn", ".bzr", ".jj"),
}  # fmt: skip
"""Reason -> names of folders, compared without case."""

_STARTS = {
    ".trash-": "recycle bin",  # freedesktop, with the number of the user
    "@gmt-": "snapshots",  # Windows shadow copies, as Samba shows them
}
_REASONS = {name: reason for reason, names in _FOLDERS.items() for name in names}
_METADATA = "metadata of macOS"  # `._brick.jpg` beside `brick.jpg`, and no picture
PREVIEW = "preview"
MUCH_SMALLER = "much smaller copy"
PREVIEWS = frozenset({THUMBNAILS, PREVIEW, MUCH_SMALLER})
"""Reasons that --include-previews ends."""
HIDDEN = "hidden"
EXCLUDED = "excluded"


@dataclass(frozen=True)
class ScanRules:
    """What a scan leaves out beside what no scan takes."""

    exclude: tuple[str, ...] = ()
    """Patterns as in .gitignore, on paths below the root."""

    include_previews: bool = False
    """Whether previews, much smaller copies and folders of thumbnails are listed."""

    def changed(
        self, exclude: Sequence[str] | None, include_previews: bool | None
    ) -> tuple[ScanRules, list[str]]:
        """These rules, those of the run before, but for what is given now; and lines to say.

        Raises SettingsError for a pattern that cannot be read.
        """
        if isinstance(exclude, str):
            exclude = (exclude,)
        rules = ScanRules(
            self.exclude if exclude is None else tuple(exclude),
            self.include_previews if include_previews is None else include_previews,
        )
        Exclusion(rules.exclude)
        lines = []
        if exclude is None and self.exclude:
            lines.append(
                f"Left out as in the run before: {printable(', '.join(self.exclude))}"
                " (--empty-exclude ends it)."
            )
        if include_previews is None and self.include_previews:
            lines.append("With previews as in the run before (--no-include-previews ends it).")
        return rules, lines


def reason_of_folder(name: str, *, include_previews: bool) -> str | None:
    """Why a folder of this name holds no originals; None where it may."""
    folded = match_key(name)
    bare = folded.lstrip("._")  # .thumbnails, _thumbs
    reason = _REASONS.get(folded)
    if reason is None and _REASONS.get(bare) == THUMBNAILS:
        reason = THUMBNAILS
    if reason == THUMBNAILS and include_previews:
        return None
    if reason is None and folded[:1] in ".@":
        reason = next((why for start, why in _STARTS.items() if folded.startswith(start)), None)
    if reason is None and folded.startswith("."):
        reason = HIDDEN
    return f"{reason}: {printable(name)}" if reason else None


def reason_of_hidden_file(name: str) -> str:
    """Why a file whose name starts with a dot is left out."""
    return _METADATA if name.startswith("._") or name == ".DS_Store" else HIDDEN


class Exclusion:
    """Patterns as in .gitignore, compared without case; the last one that fits decides."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises SettingsError for a pattern that cannot be read."""
        self._texts = tuple(patterns)
        self._patterns = [_compiled(text) for text in self._texts]
        self._used: set[int] = set()

    def reason(self, path: str) -> str | None:
        """Why a path below the root is left out; that of a folder ends with a slash."""
        if not self._patterns:
            return None
        folded = match_key(path)
        for number in range(len(self._patterns) - 1, -1, -1):
            fits = self._patterns[number].check_file(folded).include
            if fits is not None:
                self._used.add(number)
                return f"{EXCLUDED}: {printable(self._texts[number])}" if fits else None
        return None

    def warnings(self) -> list[str]:
        """A line for each pattern that fitted no path."""
        unused = [text for n, text in enumerate(self._texts) if n not in self._used]
        return [
            f"--exclude {text!r} fits nothing; patterns are paths below the folder, as in"
            " .gitignore: wip/ or *_old.png or /scans/raw/**"
            for text in unused
        ]


def remedy(reasons: Collection[str]) -> str:
    """What to do where nothing is left, by the reasons before their colons."""
    ways = ["name a folder with colour images such as .jpg, .png or .tif"]
    if not PREVIEWS.isdisjoint(reasons):
        ways.append("pass --include-previews")
    if EXCLUDED in reasons:
        ways.append("exclude less")
    return ", or ".join(ways)


def _compiled(text: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    plain = text.replace(os.sep, "/") if os.sep != "/" else text
    if plain.startswith("./"):
        plain = plain[1:]
    if plain.startswith("#"):  # a comment there; here the recycle bin of a Synology
        plain = f"\\{plain}"
    try:
        spec = GitIgnoreSpec.from_lines([match_key(plain)])
    except Exception:  # ValueError, and re.error for a broken range
        spec = GitIgnoreSpec([])
    if not any(pattern.include is not None for pattern in spec.patterns):
        raise SettingsError(
            f"--exclude {text!r} is no pattern; write it as in .gitignore: wip/ or *_old.png"
        )
    return spec
