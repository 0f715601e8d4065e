"""One interface for whoever answers: the local model has the bits of `generation`, a table has known bias, orders are averaged, gates find what is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.models import answer_gates, answerers, generation
from polypersona_lib.models.answer_gates import check_gates, gate_lines, with_stranger
from polypersona_lib.models.answerers import LocalAnswerer, Prompt, TableAnswerer, ask_in_orders, in_order, listed_options, orders_of, prompts_of
from polypersona_lib.models.generation import Draws, Sampling
from polypersona_lib.prompts import chat

SCALE = ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree")


def asked(people: int = 16, items: int = 3) -> pd.DataFrame:
    """Closed items to people whose card says how old they are; the true option follows from the age alone."""
    rows = []
    for i in range(people):
        for j in range(items):
            card = {"persona_id": f"p{i}", "age": 20 + 5 * i, "gender": "woman", "occupation": "nurse"}
            rows.append({"id": f"p{i}-q{j}", "persona_id": f"p{i}", "options": SCALE, "truth": 0 if i % 2 else 4, "group": "low" if i % 2 else "high",
                         "messages": chat.messages(card, "Health", f"Question number {j}.", SCALE)})  # fmt: skip
    return pd.DataFrame(rows)


def by_card(messages, options) -> np.ndarray:
    """Nine in ten take the option that the card's age stands for; without a card, all options are alike."""
    text = messages[-1]["content"]
    if "nurse" not in text:
        return np.full(len(options), 1 / len(options))
    name = SCALE[0] if any(f", {20 + 5 * i}" in text for i in range(1, 100, 2)) else SCALE[4]
    return np.where(np.array(options) == name, 0.9, 0.1 / (len(options) - 1))


def deaf(messages, options) -> np.ndarray:
    """The same for everybody and every question, by the option's name."""
    weights = {"Strongly disagree": 0.05, "Disagree": 0.1, "Neither agree nor disagree": 0.15, "Agree": 0.5, "Strongly agree": 0.2}
    return np.array([weights[name] for name in options])


@pytest.fixture(scope="module")
def twin():
    from polypersona_lib.models.loading import load_base, load_tokenizer
    from polypersona_lib.registry import get_spec

    spec = get_spec("tinyllama-1.1b")
    return load_base(spec, "nano", four_bit=False), load_tokenizer(spec, "nano")


def test_the_local_model_has_the_bits_of_generation(twin, monkeypatch):
    monkeypatch.setattr(answerers, "ONE_THREAD", 0)  # `generation` takes the threads that are set
    rows = asked(3, 2)
    local, draws = LocalAnswerer(*twin), Draws(5, [Sampling(0.7, 0.9, 12)] * len(rows))
    direct = generation.respond(*twin, rows, draws, with_options=True)
    assert [w.text for w in local.write(prompts_of(rows), draws)] == direct["text"].tolist()
    choices = local.option_probabilities(prompts_of(rows), rows["options"].tolist())
    assert all((c.probs == p).all() and c.how == "exact" for c, p in zip(choices, direct["option_probs"], strict=True))
    assert all((a == b).all() for a, b in zip(direct["option_probs"], generation.choice_probabilities(*twin, rows), strict=True))
    assert all(0 < c.mass <= 1 for c in choices)


def test_rows_with_long_lists_of_options_are_read_apart_from_the_others(twin, monkeypatch):
    rows = asked(3, 4)
    long = [f"{word}, because somebody whom I know said so when we spoke about it the other day" for word in ("Never", "Once", "Twice", "Often", "Always")]
    rows["options"] = [long if i % 4 == 3 else options for i, options in enumerate(rows["options"])]
    widths, read = [], generation._label_logprobs

    def noted(model, prompts, labels):
        widths.append([sum(map(len, row)) for row in labels])
        return read(model, prompts, labels)

    monkeypatch.setattr(generation, "_label_logprobs", noted)
    together = generation.choice_probabilities(*twin, rows)
    assert sorted(map(len, widths)) == [3, 9] and max(min(widths, key=len)) > 3 * max(max(widths, key=len))
    for number in (0, 3, 7):
        alone = generation.choice_probabilities(*twin, rows.iloc[[number]])[0]
        np.testing.assert_allclose(together[number], alone, atol=1e-5)


def test_words_before_an_option_are_for_untuned_real_models_alone(twin, monkeypatch):
    monkeypatch.setattr(answerers, "ONE_THREAD", 0)
    from polypersona_lib.models.weights import BEGUN, begun_by
    from polypersona_lib.registry import get_spec

    real, family = get_spec("smollm2-135m"), get_spec("tinyllama-1.1b")
    assert begun_by(real, "small", None) == begun_by(real, "nano", None) == begun_by(family, "paper", None) == BEGUN
    assert begun_by(real, "small", "an adapter") == begun_by(family, "nano", None) == ""
    rows = asked(3, 2)
    nothing = Draws(0, [Sampling(1.0, 1.0, 0)] * len(rows))
    direct = generation.respond(*twin, rows, nothing, with_options=True, begun=BEGUN)["option_probs"]
    choices = LocalAnswerer(*twin, begun=BEGUN).option_probabilities(prompts_of(rows), rows["options"].tolist())
    plain = LocalAnswerer(*twin).option_probabilities(prompts_of(rows), rows["options"].tolist())
    assert all((c.probs == p).all() for c, p in zip(choices, direct, strict=True))
    assert max(np.abs(c.probs - p.probs).max() for c, p in zip(choices, plain, strict=True)) > 0.01


def test_a_twin_is_asked_on_one_thread_and_a_larger_model_on_all(twin, monkeypatch):
    import torch

    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(answerers, "respond", lambda *args, **options: seen.append(torch.get_num_threads()) or generation.respond(*args, **options))
    try:
        torch.set_num_threads(2)
        for limit in (answerers.ONE_THREAD, 1_000_000):  # a twin has 1.7 M parameters
            monkeypatch.setattr(answerers, "ONE_THREAD", limit)
            LocalAnswerer(*twin).write(prompts_of(asked(1, 1)), Draws(5, [Sampling(0.7, 0.9, 4)]))
        assert seen == [1, 2] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_batch_gives_the_local_model_what_single_prompts_give(twin):
    rows = asked(3, 2)
    local, prompts = LocalAnswerer(*twin), prompts_of(rows)
    draws = Draws(5, [Sampling(0.7, 0.9, 12)] * len(rows))
    together, texts = local.option_probabilities(prompts, rows["options"].tolist()), local.write(prompts, draws)
    for i, prompt in enumerate(prompts):
        (alone,) = local.option_probabilities([prompt], [SCALE])
        assert np.abs(alone.probs - together[i].probs).max() < 1e-5 and alone.mass == pytest.approx(together[i].mass, abs=1e-5)
        assert local.write([prompt], Draws(5, draws.settings[:1])) == [texts[i]]


def test_a_table_says_what_it_is_told():
    rows, draws = asked(200, 1), Draws(1, [Sampling(1.0, 1.0, 8)] * 200)
    world = TableAnswerer(deaf, mass=0.8)
    said = pd.Series([w.text.rstrip(".") for w in world.write(prompts_of(rows), draws)])
    assert abs((said == "Agree").mean() - 0.4) < 0.11 and abs((said == "I would rather not say").mean() - 0.2) < 0.09
    assert world.write(prompts_of(rows)[:1], draws) == world.write(prompts_of(rows), draws)[:1]


def test_options_are_listed_in_another_order_and_nothing_else_changes():
    messages = asked(1, 1)["messages"][0]
    turned = in_order(messages, SCALE, [4, 3, 2, 1, 0])
    assert listed_options(turned) == list(SCALE[::-1]) and in_order(turned, SCALE[::-1], [4, 3, 2, 1, 0]) == messages
    with pytest.raises(ValueError, match="does not end with its options"):
        in_order(messages, SCALE[:3], [2, 1, 0])
    assert orders_of(3) == [[0, 1, 2], [2, 1, 0]] and orders_of(5, 5)[1] == [1, 2, 3, 4, 0] and orders_of(4, 2) == [[0, 1, 2, 3], [2, 3, 0, 1]]


def test_both_orders_are_averaged_by_name():
    rows = asked(2, 2)
    for choice in ask_in_orders(TableAnswerer(deaf, order_bias=0.4), rows):
        truth = 0.6 * deaf(None, SCALE)
        assert choice.by_order[0] == pytest.approx(truth + 0.4 * np.eye(5)[0]) and choice.by_order[1] == pytest.approx(truth + 0.4 * np.eye(5)[4])
        assert choice.probs == pytest.approx(truth + 0.2 * (np.eye(5)[0] + np.eye(5)[4]))
    for choice in ask_in_orders(TableAnswerer(deaf, order_bias=0.4), rows, shifts=5):  # every option is first once: the bias is gone
        assert choice.probs == pytest.approx(0.6 * deaf(None, SCALE) + 0.4 / 5)


def test_a_row_that_lacks_one_order_has_no_answer():
    class Half(TableAnswerer):
        def option_probabilities(self, prompts, options):
            whole = super().option_probabilities(prompts, options)
            return [type(c)(None, reason="not asked") if "|" in p.id else c for p, c in zip(prompts, whole, strict=True)]

    assert [c.reason for c in ask_in_orders(Half(deaf), asked(1, 2))] == ["not asked"] * 2


def passed(world, rows=None, **kwargs) -> dict:
    rows = asked() if rows is None else rows
    table = check_gates(world, rows, strangers=with_stranger(rows, seed=1), seed=1, **kwargs)
    assert len(gate_lines(table)) == len(table) == 5
    return dict(zip(table["gate"], table["passed"], strict=True))


def test_a_world_that_reads_the_card_passes_every_gate():
    assert set(passed(TableAnswerer(by_card)).values()) == {True}
    table = check_gates(TableAnswerer(by_card), asked(), seed=1).set_index("gate")
    high = 0.9 + 0.025 * (0.75 + 0.5 + 0.25)  # mean position of somebody who takes the last option nine times in ten
    assert table.loc["known groups", "value"] == pytest.approx(high - (1 - high)) and table.loc["order effect", "value"] == 0


def test_each_gate_fails_on_the_fault_it_is_for():
    good = passed(TableAnswerer(by_card))
    assert {g for g, ok in passed(TableAnswerer(by_card, mass=0.2)).items() if not ok} == {"option mass"}
    assert "order effect" in {g for g, ok in passed(TableAnswerer(by_card, order_bias=0.7)).items() if not ok}
    assert {g for g, ok in passed(TableAnswerer(deaf)).items() if not ok} == {"distance from the prior", "own card", "known groups"}
    swapped = asked().assign(group=lambda d: d["group"].map({"high": "low", "low": "high"}))
    assert {g for g, ok in passed(TableAnswerer(by_card), swapped).items() if not ok} == {"known groups"}
    assert set(good.values()) == {True}


def test_a_gate_that_few_people_cannot_pass_says_so_and_does_not_claim_that_all_is_equal():
    def noise(messages, options) -> np.ndarray:
        return np.random.default_rng(list(messages[-1]["content"].encode())).dirichlet(np.ones(len(options)))

    def meanings(world, rows):
        table = check_gates(world, rows, strangers=with_stranger(rows, seed=1), seed=1).set_index("gate").loc[["own card", "known groups"]]
        assert not table["passed"].any()
        return table["meaning"].tolist(), (table["lo"] < 0).all() and (table["hi"] > 0).all()

    words, open_ends = meanings(TableAnswerer(noise), asked(8, 3))
    assert open_ends and all(said.startswith("8 people do not show that ") and said.endswith(", which more people might") for said in words)
    assert meanings(TableAnswerer(deaf), asked())[0] == [answer_gates.MEANING[gate] for gate in ("own card", "known groups")], "intervals of exactly 0"


def test_counting_few_answers_makes_no_order_effect():
    class Counted(TableAnswerer):
        def option_probabilities(self, prompts, options):
            exact = super().option_probabilities(prompts, options)
            rng = [np.random.default_rng(list(p.id.encode())) for p in prompts]
            return [type(c)(r.multinomial(5, c.probs) / 5, 1.0, "samples", 5) for r, c in zip(rng, exact, strict=True)]

    rows = asked(60, 3)
    table = check_gates(Counted(deaf), rows, seed=1).set_index("gate")
    assert table.loc["order effect", "value"] < 0.12  # without the correction .4: five answers are that far apart by chance
    assert not table.loc["distance from the prior", "passed"] or table.loc["distance from the prior", "value"] < 0.2


def test_the_noise_of_counted_answers_is_that_of_each_order():
    """Five answers in each of two orders that disagree: the mean of .95 and .05 is .5, .2 from a prior of .3, however little each order varies."""
    rng, prior = np.random.default_rng(1), answerers.OptionShares(np.array([0.3, 0.7]))
    drawn = [np.stack([rng.multinomial(5, [p, 1 - p]) / 5 for p in (0.95, 0.05)]) for _ in range(4000)]
    counted = [answerers.OptionShares(orders.mean(0), 1.0, "samples", 10, by_order=orders) for orders in drawn]
    assert answer_gates._distance([(c, prior) for c in counted]) == pytest.approx(0.2, abs=0.01)


def test_without_answers_no_gate_is_passed():
    class Nobody(TableAnswerer):
        def option_probabilities(self, prompts, options):
            return [type(c)(None, reason="not asked") for c in super().option_probabilities(prompts, options)]

    rows = asked(2, 1)
    table = check_gates(Nobody(deaf), rows, strangers=with_stranger(rows, seed=1), seed=1)
    assert table["passed"].isna().all() and (table["answers"] == 0).all() and all("not tested" in line for line in gate_lines(table))


def test_a_stranger_is_somebody_else():
    rows = asked(5, 2)
    strangers = with_stranger(rows, seed=3)
    for own, other in zip(rows["messages"], strangers, strict=True):
        mine, theirs = (m[-1]["content"].split("\n") for m in (own, other))
        assert mine[0] != theirs[0] and mine[1:] == theirs[1:]
    with pytest.raises(ValueError, match="two people"):
        with_stranger(asked(1, 2), seed=1)


def test_prompts_come_from_rows():
    rows = asked(1, 1)
    assert prompts_of(rows) == [Prompt("p0-q0", rows["messages"][0])]


@pytest.mark.parametrize("end", [[{"role": "assistant", "content": "My doctor listens."}], []], ids=["with its answer", "nothing at all"])
def test_a_prompt_ends_with_its_question(end):
    before = asked(1, 1)["messages"][0] if end else []
    with pytest.raises(ValueError, match="'p0-q0' does not end with a question"):
        Prompt("p0-q0", [*before, *end])
