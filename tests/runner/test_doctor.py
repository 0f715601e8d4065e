"""The pre-flight: every check says what it found, and how to mend what is wrong."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from polypersona_lib.models import resources
from polypersona_lib.registry import MODELS
from polypersona_lib.runner import doctor

Usage = namedtuple("Usage", "total used free")


def report(profile: str) -> dict[str, doctor.Check]:
    """The checks of a profile by subject."""
    return {check.subject: check for check in doctor.checks(profile)}


def test_here_a_nano_run_is_possible(capsys):
    assert doctor.main(["nano"]) == 0
    said = capsys.readouterr().out
    assert all(subject in said for subject in ("Python", "packages", "disk", "memory", "GPU", "hub", "browser")) and "FAIL" not in said


def test_everything_but_ok_comes_with_a_fix():
    for profile in ("nano", "paper"):
        for check in doctor.checks(profile):
            assert check.state and (check.status == doctor.OK) == (not check.fix), check


def test_a_full_disk_fails(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 10**8, 10**8))
    assert report("nano")["disk"].status == doctor.FAIL
    assert doctor.main(["nano"]) == 1 and "-> free some space" in capsys.readouterr().out


def test_paper_without_a_gpu_fails_and_names_the_way_out(monkeypatch):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    found = report("paper")
    assert found["GPU"].status == doctor.FAIL and "./run_all.sh nano" in found["GPU"].fix


def test_a_small_card_is_told_which_models_it_cannot_hold(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a card")
    monkeypatch.setattr(resources.Machine, "here", classmethod(lambda cls: resources.Machine(int(24e9), 1, False, int(64e9))))
    found = report("paper")
    assert found["BF16"].status == doctor.WARN and "Phi-2" in found["BF16"].fix
    assert {key: found[key].status for key in MODELS} == {key: doctor.WARN if key == "qwen1.5-moe" else doctor.OK for key in MODELS}
    assert "GB are usable" in found["qwen1.5-moe"].state and "--models phi-2," in found["qwen1.5-moe"].fix


def test_without_the_packages_it_says_how_to_get_them_instead_of_failing(monkeypatch, capsys):
    """The first thing somebody types is `python -m polypersona_lib doctor`, often with the system's Python."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "not here: psutil" in said and "./run_all.sh --help makes .venv" in said and "memory" not in said and "browser" in said


def test_a_folder_that_cannot_be_written_to_fails(monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert report("nano")["results"].status == doctor.FAIL and "--out DIR" in report("nano")["results"].fix


@pytest.mark.parametrize(("profile", "enough"), [("smoke", True), ("nano", False), ("bias", False), ("sessions", False)])
def test_every_profile_has_its_own_need_of_memory(profile, enough, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(4.5e9))
    assert (report(profile)["memory"].status == doctor.OK) == enough
