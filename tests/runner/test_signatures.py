"""What has to run again after a change: the signatures of the real notebooks and the real library, copied; nothing is executed."""

from __future__ import annotations

import shutil

import pytest

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.files import file_hash, value_hash
from polypersona_lib.runner import stages


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Notebooks and library in a folder of their own, where they can be changed."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(paths.NOTEBOOKS, folder / "notebooks")
    shutil.copytree(paths.ROOT / "polypersona_lib", folder / "polypersona_lib", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def signatures(project, **parameters) -> dict[str, dict[str, str]]:
    """`{stage: its signature, part by part}` of a nano run that lies in the project's folder."""
    run = RunConfig(out=str(project))
    state = stages.Run(run, stages.Project(project))
    return {number: state.parts(number, path, parameters) for number, path in stages.find_stages(project / "notebooks").items()}


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


def test_data_of_other_names_have_other_folders(tmp_path):
    """`survey.2024` and `survey.2025` are two data sets, and so are two whose names have no letter from a to z."""
    names = ["survey", "survey.2024", "survey.2025", "survey-2024", "调查", "问卷"]
    for name in names:
        (tmp_path / name).mkdir()
    runs = [RunConfig(data=str(tmp_path / name)).name for name in names]
    assert len(set(runs)) == len(names) and runs[0] == "nano-survey" and runs[3] == "nano-survey-2024" and all(run.isascii() for run in runs)


def test_new_weights_in_a_folder_of_models_are_noticed(project, tmp_path):
    """Only the path stands in `--models`; a model that was trained on and saved into the same folder is another one."""
    weights = tmp_path / "my model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"old")
    models = f"phi-2,{weights.parent}"
    before = signatures(project, models=models)
    weights.write_bytes(b"new")
    assert changed(before, signatures(project, models=models)) == {n: ["input models:my model/model.safetensors"] for n in ("03", "04", "07", "12")}


def test_data_that_make_answers_and_pictures_that_a_notebook_shows_are_read_by_it(project):
    before = signatures(project)
    for name in ("idiom.yaml", "turns_of_phrase.yaml"):
        (project / "data").mkdir(exist_ok=True)
        (project / "data" / name).write_text("changed", encoding="utf-8")
    told = signatures(project)
    wanted = [f"input data/{name}" for name in ("idiom.yaml", "turns_of_phrase.yaml")]
    numbers = {number for number, names in changed(before, told).items() if names == wanted}
    assert {"01", "04", "08", "10"} <= numbers
    picture = project / "figures" / "nano" / "fig1_domain_counts.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"another picture")
    assert changed(told, signatures(project)) == {"06": ["input figures/nano/fig1_domain_counts.png"]}


def test_the_personas_that_notebook_01_shows_are_those_of_the_file_that_is_named(project, monkeypatch):
    before = signatures(project)
    monkeypatch.setenv("POLYPERSONA_PERSONAHUB", "texts.jsonl")
    assert changed(before, signatures(project)) == {"01": ["variable POLYPERSONA_PERSONAHUB"]}


def test_minutes_and_the_weights_that_are_here_decide_what_the_bias_study_asks(project, monkeypatch):
    before = signatures(project)
    monkeypatch.setenv("POLYPERSONA_MINUTES", "120")
    assert changed(before, signatures(project)) == {"12": ["variable POLYPERSONA_MINUTES"]}
    monkeypatch.delenv("POLYPERSONA_MINUTES")
    monkeypatch.setattr(stages, "lacking", lambda spec: "its package is not installed")
    gone = changed(before, signatures(project))
    assert set(gone) <= set(stages.MODEL_STAGES) and all(name.startswith("weights ") for names in gone.values() for name in names)


def test_models_that_were_not_available_are_tried_again_and_the_probes_files_are_nobodys_output(project):
    """A gated model or a download that failed: the next run asks for it once more, although nothing else has changed."""
    run = RunConfig(out=str(project))
    state = stages.Run(run, stages.Project(project))
    left_out, page = run.paths.results / "unavailable.json", run.paths.results / "probe" / "session.json"
    for path, text in ((left_out, '{"llama-2-7b": "accept its licence first"}'), (page, "{}")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert state.name(page) not in state.files() and state.name(left_out) in state.files()
    parts = state.parts("03", stages.find_stages(project / "notebooks")["03"], {})
    done = {"status": "done", "outputs": {state.name(left_out): file_hash(left_out)}, "parts": parts, "signature": value_hash(parts)}
    state.manifest.stages["03"] = done
    assert state.why("03", parts) == "llama-2-7b: not available last time"
    left_out.write_text("{}", encoding="utf-8")
    state.manifest.stages["03"] = done | {"outputs": {state.name(left_out): file_hash(left_out)}}
    assert state.why("03", parts) == ""
