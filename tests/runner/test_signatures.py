"""What has to run again after a change: the signatures of the real notebooks and the real library, copied; nothing is executed."""

from __future__ import annotations

import shutil

import pytest

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.runner import stages


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Notebooks and library in a folder of their own, where they can be changed."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(paths.NOTEBOOKS, folder / "notebooks")
    shutil.copytree(paths.ROOT / "polypersona_lib", folder / "polypersona_lib", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def signatures(project) -> dict[str, dict[str, str]]:
    """`{stage: its signature, part by part}` of a nano run that lies in the project's folder."""
    run = RunConfig(out=str(project))
    state = stages.Run(run, stages.Project(project))
    return {number: state.parts(number, path, {}) for number, path in stages.find_stages(project / "notebooks").items()}


def changed(before, now) -> dict[str, list[str]]:
    """`{stage: the parts of its signature that differ}`."""
    parts = {number: sorted(k for k in before[number].keys() | now[number].keys() if before[number].get(k) != now[number].get(k)) for number in before}
    return {number: names for number, names in parts.items() if names}


def test_a_changed_label_in_the_ablation_figure_runs_07_and_90_again_and_nothing_else(project):
    drawn, before = project / "figures" / "ablations" / "ablation_gains.png", signatures(project)
    module = project / "polypersona_lib" / "figures" / "ablation_figures.py"
    code = module.read_text(encoding="utf-8")
    module.write_text(code.replace('set_xlabel("', 'set_xlabel("another label: ', 1), encoding="utf-8")
    assert module.read_text(encoding="utf-8") != code
    in_code = signatures(project)
    assert changed(before, in_code) == {"07": ["module polypersona_lib/figures/ablation_figures.py"]}
    for content in (b"the new label", b"a newer label"):  # 07 draws the figure again; the report shows it
        drawn.parent.mkdir(parents=True, exist_ok=True)
        drawn.write_bytes(content)
        assert changed(in_code, in_code := signatures(project)) == {"90": ["input figures/ablations/ablation_gains.png"]}


def test_a_sentence_about_a_room_runs_nothing_again(project):
    before = signatures(project)
    for room in (project / "polypersona_lib").rglob("*/__init__.py"):
        room.write_text('"""Another sentence."""\n', encoding="utf-8")
    assert not changed(before, signatures(project))
