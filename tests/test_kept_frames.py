"""A kept result is the one that was written, or none: not one flipped bit of its values is read."""

from __future__ import annotations

import random

import pandas as pd

from polypersona_lib.files import keep_frame, kept_frame

FRAME = pd.DataFrame({"answer": [f"answer {i * 7919 % 1000}" for i in range(300)], "p": [i / 7 for i in range(300)]})


def test_a_frame_comes_back_with_its_mark_and_its_index(tmp_path):
    frame = FRAME.set_index("answer")
    frame.attrs["mark"] = "abc"
    keep_frame(frame, tmp_path / "deep" / "a.parquet", index=None)
    back = kept_frame(tmp_path / "deep" / "a.parquet")
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == {"mark": "abc"} and [path.name for path in (tmp_path / "deep").iterdir()] == ["a.parquet"]
    assert kept_frame(tmp_path / "none.parquet") is None


def test_no_flipped_bit_of_a_value_is_read(tmp_path):
    path, chance = tmp_path / "a.parquet", random.Random(18)
    keep_frame(FRAME, path)
    whole = path.read_bytes()
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # the footer tells its own size
    refused = 0
    for _ in range(60):
        harmed = bytearray(whole)
        harmed[chance.randrange(4, pages)] ^= 1 << chance.randrange(8)
        path.write_bytes(harmed)
        frame = kept_frame(path)
        refused += frame is None
        assert frame is None or frame.equals(FRAME)  # a bit of a page's own head may say the same in another way
    assert refused > 45


def test_half_a_file_and_one_without_checksums(tmp_path):
    path = tmp_path / "a.parquet"
    FRAME.to_parquet(path, index=False)
    assert kept_frame(path).equals(FRAME)
    path.write_bytes(path.read_bytes()[:-100])
    assert kept_frame(path) is None


def test_no_flipped_bit_of_the_footer_is_read(tmp_path):
    """It holds the names and types of the columns, and the mark of the frame, without a checksum of its own."""
    path, chance = tmp_path / "a.parquet", random.Random(5)
    frame = FRAME.head(9).copy()
    frame.attrs["mark"] = "abc"
    keep_frame(frame, path)
    assert pd.read_parquet(path).equals(frame), "other programs read the file as before"
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in (whole.index(b'"pandas_type"'), whole.index(b'"numpy_type"'), *(chance.randrange(footer, len(whole)) for _ in range(150))):
        harmed = bytearray(whole)
        harmed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(harmed)
        assert kept_frame(path) is None, place
