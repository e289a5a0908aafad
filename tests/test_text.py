"""Text from outside: fit for SQLite, Parquet, JSON and a terminal, whatever it was."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeneer.text import clean_text, encodable, is_utf8, match_key, printable, to_csv, to_json

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@given(ANY_TEXT)
def test_cleaned_and_printable_text_can_be_stored_and_stays_as_it_is(text: str) -> None:
    for clean in (clean_text, printable):
        cleaned = clean(text)
        assert json.loads(json.dumps(cleaned, ensure_ascii=False).encode()) == cleaned
        assert clean(cleaned) == cleaned
        assert not any(ord(character) < 32 or ord(character) == 127 for character in cleaned)


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1))
def test_json_and_csv_come_back_as_they_were_but_for_bytes_that_are_no_text(
    rows: list[tuple[str, str]],
) -> None:
    wanted = [[encodable(cell) for cell in row] for row in rows]
    for ascii_only in (True, False):
        written = to_json({"rows": rows}, compact=True, ascii_only=ascii_only)
        assert json.loads(written.encode("ascii" if ascii_only else "utf-8")) == {"rows": wanted}
    stream = io.StringIO(to_csv(rows).encode().decode(), newline="")
    assert list(csv.reader(stream)) == wanted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"br\xfcck.jpg", r"br\xfcck.jpg"),
        (b"two\nlines.jpg", r"two\nlines.jpg"),
        (b"red\x1b[31m.jpg", r"red\x1b[31m.jpg"),
        ("[wip] Käse.jpg".encode(), "[wip] Käse.jpg"),
    ],
)
def test_a_file_name_is_shown_on_one_line(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown
    assert is_utf8(os.fsdecode(name)) == (b"\xfc" not in name)


def test_names_are_compared_without_case_and_normalization() -> None:
    assert match_key("Ka\u0308se_ALBEDO") == match_key("KÄSE_albedo")
    assert match_key("brick") != match_key("bricks")
