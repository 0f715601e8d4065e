"""A thousand cases of `tests/fuzz`, the same ones every time; `python -m tests.fuzz --cases 100000` runs more."""

from __future__ import annotations

import pytest
from fuzz import readers, running

CASES = 1000


@pytest.mark.parametrize("target", readers.TARGETS)
def test_every_reader_gives_a_value_or_one_line_an_error(target):
    tally = running.run_target(target, cases=CASES // len(readers.TARGETS), number=18, shrink=False)
    assert not tally.fault, tally.fault
    assert tally.cases >= CASES // len(readers.TARGETS)


def test_a_reader_that_lets_another_error_through_is_seen(monkeypatch):
    """The harness itself: KeyError, a raw escape, two lines, and too slow a case are all faults."""

    def raises(error):
        def read(case, folder):
            raise error

        return read

    for error in (KeyError("x"), ValueError("a\x1b[2Jb"), ValueError("two\nlines"), ValueError(""), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")):
        monkeypatch.setitem(readers.TARGETS, "limits", (readers.texts, raises(error)))
        assert running.run_target("limits", cases=3, number=1, shrink=False).fault, error
    monkeypatch.setattr(running, "SLOWEST_S", -1.0)
    monkeypatch.setitem(readers.TARGETS, "limits", (readers.texts, lambda case, folder: None))
    assert "too slow" in running.run_target("limits", cases=3, number=1, shrink=False).fault
