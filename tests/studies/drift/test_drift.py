"""The drift monitor: the test is valid by simulation, exact A/A never alarms, real changes do, and a baseline that does not fit is exit status 2."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.models import answerers
from polypersona_lib.models.answerers import LocalAnswerer, OptionShares, TableAnswerer
from polypersona_lib.studies.drift import command
from polypersona_lib.studies.drift import monitor as e_process
from polypersona_lib.studies.drift.baseline import Baseline, differences_in_words, read_baseline, write_baseline
from polypersona_lib.studies.drift.monitor import TOLERANCES, compare, report_lines
from polypersona_lib.studies.drift.probe_set import CARDS, ITEMS, ask_probes, probe_hash, probes

FINGERPRINT = {"weights": "a", "template": "b"}


def table(*, shift: float = 0.0, order: float = 0.0, noise: float = 0.0, seed: int = 0) -> TableAnswerer:
    """A model whose first listed name of each item has a probability of its own, moved by `shift`; each answer is off by up to `noise`."""
    rng = np.random.default_rng(seed)

    def truth(messages, options):
        base = np.array([1 + (sum(map(ord, option)) % 7) + len(messages[-1]["content"]) % 3 for option in options], dtype=float)
        probs = base / base.sum()
        move = shift * np.where(np.arange(len(options)) == np.argmax(probs), -1, 1 / (len(options) - 1))
        probs = np.clip(probs + move + noise * rng.uniform(-1, 1, len(options)), 0, None)
        return probs / probs.sum()

    return TableAnswerer(truth, order_bias=order)


class Sampled:
    """Any answerer seen through `k` sampled answers a probe."""

    name = "sampled"

    def __init__(self, inner, seed: int, k: int = 5):
        self.inner, self.rng, self.k = inner, np.random.default_rng(seed), k

    def option_probabilities(self, prompts, options):
        exact = self.inner.option_probabilities(prompts, options)
        return [OptionShares(self.rng.multinomial(self.k, r.probs) / self.k, mass=1.0, how="samples", samples=self.k) for r in exact]


def observed(answerer, fingerprint=FINGERPRINT) -> Baseline:
    return Baseline("table", fingerprint, ask_probes(answerer))


@pytest.fixture(scope="module")
def then():
    return observed(table())


# --- the test itself -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [0.0, 0.001, 0.05])
def test_wealth_reaches_20_in_at_most_one_stream_of_20(null):
    """2,000 streams at the edge of the null, of differences that make betting most tempting, looked at after every probe."""
    rng = np.random.default_rng(1)
    for high in (1.0, 0.3):
        share = (null + high) / (2 * high)
        streams = np.where(rng.random((2000, 300)) < share, high, -high)
        reached = (e_process.wealth(streams, null=null).max(1) >= 20).mean()
        assert reached <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)
    rare = (rng.random((2000, 300)) < null).astype(float)  # distances: nearly always 0, sometimes 1, with the largest mean allowed
    if null:
        assert (e_process.wealth(rare, null=null, low=0.0).max(1) >= 20).mean() <= 0.06


def test_the_null_can_depend_on_the_past_and_bets_only_see_the_past():
    """A stream whose spread grows after a gain, mean 0 all the time; and a bet does not change if what comes later does."""
    rng = np.random.default_rng(2)
    signs, streams = rng.choice([-1.0, 1.0], size=(2000, 200)), np.empty((2000, 200))
    streams[:, 0] = 0.1 * signs[:, 0]
    for t in range(1, 200):
        streams[:, t] = signs[:, t] * np.where(streams[:, t - 1] > 0, 0.9, 0.05)
    assert (e_process.wealth(streams, null=0.0).max(1) >= 20).mean() <= 0.055
    changed = streams.copy()
    changed[:, 150:] = 1
    assert (e_process.wealth(streams, null=0.0)[:, :150] == e_process.wealth(changed, null=0.0)[:, :150]).all()


def test_wealth_never_becomes_negative_and_starts_at_one():
    worst = np.tile([1.0, -1.0], 50)
    path = e_process.wealth(worst, null=0.0)
    assert (path > 0).all() and path[0] == 1 and (e_process.wealth(-np.ones(50), null=0.0) == 1).all()


def test_the_sampled_distance_has_mean_zero_without_a_change():
    rng, p, q = np.random.default_rng(3), np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    for other, mean in ((p, 0.0), (q, ((p - q) ** 2).sum() / 2)):
        drawn = [e_process.sampled_distance(rng.multinomial(5, p) / 5, rng.multinomial(3, other) / 3, 5, 3) for _ in range(2000)]
        assert np.mean(drawn) == pytest.approx(mean, abs=4 * np.std(drawn) / np.sqrt(2000)) and -1 <= min(drawn) <= max(drawn) <= 1
    assert e_process.sampled_distance(p, q, 1, 5) == 0 and e_process.exact_distance([1, 0], [0, 1]) == 1


def streams(then, *, runs: int, draw) -> tuple[np.ndarray, np.ndarray]:
    """Moves and distances of `runs` A/A runs, shape (runs, probes); `draw(p)` gives one run's answer to a probe (shares) then and now, and their distance."""
    moves, distances = np.empty((runs, len(then.answers))), np.empty((runs, len(then.answers)))
    for place, probs in enumerate(then.answers["probs"]):
        scale = np.linspace(0, 1, len(probs))
        for run in range(runs):
            old, new, distances[run, place] = draw(np.asarray(probs))
            moves[run, place] = (new - old) @ scale
    return moves, distances


def test_sampled_a_a_runs_alarm_in_at_most_one_of_20(then):
    """400 pairs of runs, each with a baseline of its own; and two that go through everything."""
    rng = np.random.default_rng(4)

    def draw(probs):
        old, new = rng.multinomial(5, probs, size=2) / 5
        return old, new, e_process.sampled_distance(old, new, 5, 5)

    path = e_process.e_values(*streams(then, runs=400, draw=draw), tolerance=0.0)
    assert (path.max(1) >= e_process.ALARM).mean() <= 0.05
    assert sum(compare(observed(Sampled(table(), 2 * i)), observed(Sampled(table(), 2 * i + 1))).status for i in range(2)) == 0


def test_sampled_changes_are_found(then):
    found = [compare(observed(Sampled(table(), i)), observed(Sampled(table(shift=0.45), 50 + i))).status for i in range(5)]
    assert sum(found) >= 4


def test_exact_a_a_runs_never_alarm(then):
    """200 runs with noise ten times that of other batches and threads: 0 alarms, and e stays at 1 or below, because no distance exceeds the tolerance."""
    rng = np.random.default_rng(5)

    def draw(probs):
        new = probs + rng.uniform(-1e-4, 1e-4, len(probs))
        return probs, new / new.sum(), e_process.exact_distance(probs, new / new.sum())

    path = e_process.e_values(*streams(then, runs=200, draw=draw), tolerance=TOLERANCES["exact"])
    assert path.max() <= 1
    found = [compare(then, observed(table(noise=1e-4, seed=i))) for i in range(3)]
    assert sum(f.status for f in found) == 0 and max(f.e.max() for f in found) <= 1


@pytest.mark.parametrize("change", [{"shift": 0.05}, {"shift": -0.05}, {"order": 0.1}, {"shift": 0.3}])
def test_exact_changes_alarm(then, change):
    found = compare(then, observed(table(**change)))
    assert found.status == 1 and found.alarm < 60 and found.fingerprint == []
    assert report_lines(found)[0].startswith(f"DRIFT: the alarm rang after {found.alarm} of {len(probes())} probes")


def test_changes_that_cancel_out_are_seen_too(then):
    """Half of the probes move up as far as the others move down: the mean place stays."""
    new = then.answers.copy()
    new["probs"] = [p if len(p) > 2 else [p[0] + 0.04 * (-1) ** i, p[1] - 0.04 * (-1) ** i] for i, p in enumerate(new["probs"])]
    assert compare(then, Baseline("table", FINGERPRINT, new)).status == 1


# --- what is compared, and what cannot be --------------------------------------------------------------------------------------------


def test_the_probe_set_is_whole_and_fixed():
    rows = probes()
    assert len(rows) == (len(CARDS) + 1) * len(ITEMS) * 2 and rows["id"].is_unique and probe_hash() == probe_hash()
    assert all(len(options) == len(lean) for _, _, options, lean in ITEMS.values())
    assert rows["card"].iloc[:24].nunique() > 4, "the stream is mixed"
    one = ask_probes(table(order=0.2), block=1)
    assert one["probs"].tolist() == ask_probes(table(order=0.2))["probs"].tolist(), "blocks change nothing"


def test_the_table_says_what_moved(then):
    found = compare(then, observed(table(order=0.3)))
    moved = found.moved.set_index(["part", "name"])
    assert moved.loc[("all", "order effect"), "change"] > 0.1 and moved.loc[("all", "options named"), "change"] == 0
    assert set(found.moved["part"]) == {"all", "item", "card", "without a card"} and len(found.moved) == 3 + len(ITEMS) * 2 + len(CARDS)
    assert moved["then"].between(-1, 1).all() and np.allclose(moved["now"] - moved["then"], moved["change"])


def test_the_fingerprint_is_told_in_words():
    said = differences_in_words({"weights": "a", "template": "b"}, {"weights": "c", "template": "b", "engine": "x\ny"})
    assert said == ["other weights: 'a' then, 'c' now", "another engine: 'not known' then, 'x\\ny' now"]


def test_what_cannot_be_compared_is_one_line(then):
    with pytest.raises(InputError, match="came from exact then and from samples now"):
        compare(then, observed(Sampled(table(), 1)))
    gone = then.answers.assign(probs=None, reason="no connection")
    with pytest.raises(InputError, match=r"112 of 112 probes have no answer then or now \(no connection\)"):
        compare(then, Baseline("table", FINGERPRINT, gone))
    some = then.answers.copy()
    some.loc[:9, "probs"] = None
    found = compare(then, Baseline("table", FINGERPRINT, some))
    assert found.missing == 10 and found.status == 0 and "10 probes have no answer" in "\n".join(report_lines(found))
    some.loc[10:55, "probs"] = None
    with pytest.raises(InputError, match="56 of 112 probes have no answer then or now"):
        compare(then, Baseline("table", FINGERPRINT, some))
    assert compare(Baseline("table", FINGERPRINT, some), Baseline("table", FINGERPRINT, some)).status == 0, "what never had an answer is not lost"


@pytest.mark.parametrize(("broken", "shift", "status"), [(112, 0, 2), (30, 0, 2), (1, 0.3, 1), (1, 0, 0)])
def test_probabilities_that_are_no_numbers_are_no_answers(tmp_path, then, broken, shift, status):
    """Not "no drift", and not hidden behind one of them; the comparison of what holds them is refused too."""

    class Broken:
        name = "broken"

        def __init__(self):
            self.left = broken

        def option_probabilities(self, prompts, options):
            replies = table(shift=shift).option_probabilities(prompts, options)
            first, self.left = min(self.left, len(replies)), max(0, self.left - len(replies))
            return [OptionShares(np.full(len(o), np.nan)) if n < first else r for n, (r, o) in enumerate(zip(replies, options, strict=True))]

    path = tmp_path / "x.json"
    drift(path, table(), update=True)
    if status == 2:
        with pytest.raises(InputError, match=rf"{broken} of 112 probes .*\(probabilities that are no numbers\)"):
            drift(path, Broken())
    else:
        assert drift(path, Broken())[0] == status
    first = then.answers.copy()
    first.at[0, "probs"] = [float("nan")] * len(first.at[0, "probs"])
    with pytest.raises(InputError, match="no numbers"):
        compare(then, Baseline("table", FINGERPRINT, first))


# --- the files and the command ----------------------------------------------------------------------------------------------------------


def drift(path, answerer, *, update=False, fingerprint=FINGERPRINT, models="table") -> tuple[int, str]:
    said = []
    status = command.run_drift(path, models=models, update=update, say=said.append, open_model=lambda entry, folder: (answerer, lambda: fingerprint))
    return status, "\n".join(said)


def test_a_baseline_comes_back_as_it_was_written(tmp_path, then):
    path = tmp_path / "x.json"
    write_baseline(path, then)
    again = read_baseline(path)
    assert again.models == "table" and again.fingerprint == FINGERPRINT and again.answers["probs"].map(list).tolist() == then.answers["probs"].tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.json", "x.parquet"]


def test_the_command_writes_compares_and_updates(tmp_path):
    path = tmp_path / "x.json"
    assert drift(path, table(), update=True)[0] == 0
    status, said = drift(path, table(noise=1e-5), models="")
    assert status == 0 and said.startswith("no drift: e never exceeded 1 over 112 probes") and "fingerprint: nothing differs" in said
    status, said = drift(path, table(shift=0.1), fingerprint={"weights": "z", "template": "b"})
    assert status == 1 and said.startswith("DRIFT") and "other weights: 'a' then, 'z' now" in said and "item" in said
    status, said = drift(path, table(shift=0.1), update=True)
    assert status == 0 and said.startswith("DRIFT") and "written" in said and drift(path, table(shift=0.1))[0] == 0
    assert drift(path, Sampled(table(), 1), update=True)[1].startswith("not compared: ")


def test_a_model_that_hardly_answers_replaces_no_baseline(tmp_path):
    path = tmp_path / "x.json"
    drift(path, table(), update=True)
    before = path.read_bytes(), path.with_suffix(".parquet").read_bytes()

    class Dies:
        name = "dies"

        def option_probabilities(self, prompts, options):
            replies = table().option_probabilities(prompts, options)
            return [reply if n < 5 else OptionShares(None, reason="the server stopped answering") for n, reply in enumerate(replies)]

    with pytest.raises(InputError, match=r"probes have no answer \(the server stopped answering\)"):
        drift(path, Dies(), update=True)
    assert before == (path.read_bytes(), path.with_suffix(".parquet").read_bytes())


DAMAGE = {
    "too deep": (lambda p: p.write_text("[" * 100_000), "is no baseline"),
    "missing": (lambda p: p.unlink(), "no baseline here"),
    "no json": (lambda p: p.write_bytes(b"\xff\x00 nothing"), "is no baseline"),
    "a list": (lambda p: p.write_text("[1]"), "of this version"),
    "foreign": (lambda p: p.write_text('{"format": "else\\n\\u001b[31m"}'), "of this version"),
    "other probes": (lambda p: p.write_text(json.dumps(json.loads(p.read_text()) | {"probe_set": "x"})), "with other probes"),
    "no answers": (lambda p: p.with_suffix(".parquet").unlink(), "cannot be read"),
    "cut": (lambda p: p.with_suffix(".parquet").write_bytes(p.with_suffix(".parquet").read_bytes()[:-7]), "is not the file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_or_foreign_baseline_is_exit_status_2(tmp_path, then, kind, capsys):
    path = tmp_path / "x.json"
    write_baseline(path, then)
    damage, message = DAMAGE[kind]
    damage(path)
    assert command.main(["--baseline", str(path)]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and "\x1b" not in told


@pytest.mark.parametrize("change", [lambda t: t.drop(columns="mass"), lambda t: t.iloc[:-1], lambda t: t.assign(probs=[[0.5, 0.7]] * len(t))])
def test_a_foreign_parquet_with_the_right_hash_is_exit_status_2(tmp_path, then, change, capsys):
    from polypersona_lib.files import file_hash

    path = tmp_path / "x.json"
    write_baseline(path, then)
    change(then.answers).to_parquet(path.with_suffix(".parquet"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"answers_sha256": file_hash(path.with_suffix(".parquet"))}))
    assert command.main(["--baseline", str(path)]) == 2 and "holds no answers to these probes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--baseline", "{}/x.json", "--models", "nobody"], "no baseline here"),
        (["--baseline", "{}/x.json", "--update"], "name it with --models"),
        (["--baseline", "{}/x.json", "--update", "--models", "nobody"], "no such model, folder or file"),
        (["--baseline", "{}/x.csv", "--update", "--models", "nobody"], "ends in .json"),
        (["--baseline", "{}/x.json", "--update", "--models", "server:nowhere"], "a server is named by"),
        ([], "required: --baseline"),
    ],
)
def test_bad_use_is_exit_status_2(tmp_path, argv, message, capsys):
    assert command.main([a.format(tmp_path) for a in argv]) == 2
    assert message in capsys.readouterr().err


# --- a real twin --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twin():
    from polypersona_lib.models.loading import load_base, load_tokenizer
    from polypersona_lib.registry import get_spec

    spec = get_spec("tinyllama-1.1b")
    return load_base(spec, "nano", four_bit=False), load_tokenizer(spec, "nano")


def test_a_twin_with_other_batches_and_threads_is_the_same(twin, monkeypatch):
    import torch

    monkeypatch.setattr(answerers, "ONE_THREAD", 0)
    threads, runs = torch.get_num_threads(), []
    try:
        for block, number in ((32, 1), (1, 1), (7, 2), (112, 2)):
            torch.set_num_threads(number)
            runs.append(Baseline("twin", FINGERPRINT, ask_probes(LocalAnswerer(*twin), block=block)))
    finally:
        torch.set_num_threads(threads)
    found = [compare(runs[0], other) for other in runs[1:]]
    assert [f.status for f in found] == [0, 0, 0] and max(f.moved["distance"].max() for f in found) < 1e-5


def test_another_template_seed_and_tuning_alarm(twin):
    """The same twin with another template, an untrained twin of two seeds, and the base against the published tuned model."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    from polypersona_lib import paths
    from polypersona_lib.models.adapters import load_for_inference
    from polypersona_lib.prompts import chat
    from polypersona_lib.registry import get_spec

    model, tokenizer = twin
    base = observed(LocalAnswerer(model, tokenizer))
    other = copy.deepcopy(tokenizer)
    other.chat_template = chat.CHATML
    assert compare(base, observed(LocalAnswerer(model, other))).status == 1
    seeds = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        seeds.append(observed(LocalAnswerer(AutoModelForCausalLM.from_config(model.config).eval(), tokenizer)))
    assert compare(*seeds).status == 1
    tuned = load_for_inference(get_spec("tinyllama-1.1b"), "nano", paths.ROOT / "results" / "shipped" / "adapters" / "tinyllama-1.1b")
    assert compare(base, observed(LocalAnswerer(tuned, tokenizer))).status == 1


def test_the_command_with_a_twin(tmp_path, capsys):
    path = str(tmp_path / "twin.json")
    assert command.main(["--baseline", path, "--models", "tinyllama-1.1b--base", "--update"]) == 0
    assert command.main(["--baseline", path]) == 0
    told = capsys.readouterr().out
    assert "no drift" in told and "fingerprint: nothing differs" in told
    assert command.main(["--baseline", path, "--models", "phi-2--base"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("DRIFT") and "fingerprint: other weights" in told and "another tokenizer" in told
    assert set(pd.read_parquet(tmp_path / "twin.parquet")["how"]) == {"exact"}


def test_a_server_is_asked_afresh_each_time(tmp_path, capsys, monkeypatch):
    from tests.stub_server import StubServer

    monkeypatch.setenv("POLYPERSONA_CACHE", str(tmp_path / "cache"))
    with StubServer() as server:
        entry, path = f"server:{server.address}#toy", str(tmp_path / "s.json")
        assert command.main(["--baseline", path, "--models", entry, "--update"]) == 0
        asked = len(server.seen)
        assert command.main(["--baseline", path, "--models", entry]) == 0 and len(server.seen) >= 2 * asked - 2
    assert command.main(["--baseline", path, "--models", entry]) == 2, "nobody there"
    assert "no server answers at" in capsys.readouterr().err
