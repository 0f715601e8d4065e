"""The small table of `tests/faults`, row by row; `python -m tests.faults --full` disturbs the whole smoke profile."""

from __future__ import annotations

import pytest

from tests.faults import outcome, table
from tests.faults.small_run import Bench


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """{name of the fault: (fault, what was seen)} of all trials, run once."""
    bench = Bench(tmp_path_factory.mktemp("faults"), kills=1)
    return {fault.name: (fault, one) for fault, one in table.run_table(bench)}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", table.FAULTS)
def test_nothing_is_lost_and_the_next_run_ends_the_same(name, seen):
    fault, one = seen[name]
    assert not fault.wrong(one), table.row(fault, one)


def test_a_row_that_is_not_right_is_seen():
    """The harness itself: another status, other words, a lost file and a trial that fails are all wrong."""
    fault = outcome.Fault("x", "y", (1,), "the kernel died")
    assert not fault.wrong(outcome.Seen(1, "error: the kernel died"))
    assert fault.wrong(outcome.Seen(0, "the kernel died")) == ["exit status 0, not 1"]
    assert fault.wrong(outcome.Seen(1, "all is well")) == ["says nothing like 'the kernel died'"]
    assert "lost: a.parquet" in table.row(fault, outcome.Seen(1, "the kernel died", ["lost: a.parquet"]))

    def fails(bench):
        raise RuntimeError("no kernel")

    assert table.attempt(None, outcome.Trial(fails, (fault,)))[0].trouble == ["RuntimeError: no kernel"]
    assert len(set(table.FAULTS)) == len(table.FAULTS)
