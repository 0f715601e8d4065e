"""A request that names what happened to a real person of the same kind: hardship comes to people's own rate, and what that costs is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.config import RunConfig
from polypersona_lib.errors import InputError
from polypersona_lib.models.answerers import Prompt, Written
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.studies.bias import balanced, jobs, tier_writer
from polypersona_lib.studies.bias.persona_text import hardship, human_hardship
from polypersona_lib.studies.bias.plan import StudyPlan, study_people
from polypersona_lib.studies.bias.planted import planted_world


def test_a_balanced_prompt_brings_hardship_to_the_human_rate():
    """A writer that says what it is asked to say, and else writes praise as the trial's did; events are those of real people, drawn with their weights."""
    people = load_survey("nonvoters_2020").people
    events = people[list(tier_writer.EVENTS)].astype("boolean").fillna(False)
    rng = np.random.default_rng(5)
    drawn = events.iloc[rng.choice(len(people), 1500, p=people["weight"] / people["weight"].sum())]
    prompts = [Prompt(str(i), [{"role": "user", "content": "Persona: someone.\nQuestion: Describe this person."}]) for i in range(len(drawn))]
    asked = tier_writer.balanced_prompts(prompts, [[e for e in tier_writer.EVENTS if row[e]] for _, row in drawn.iterrows()])

    def story(prompt: Prompt) -> Written:
        _, mark, facts = prompt.messages[-1]["content"].partition("\nThis person ")
        return Written("A proud member of the community." + (f" Also {facts.partition('. Say so')[0]}." if mark else ""))

    rates = [np.mean([bool(hardship(story(p).text)) for p in these]) for these in (prompts, asked)]
    assert rates[0] == 0 and rates[1] == pytest.approx(human_hardship()["any"], abs=0.04)
    assert all(hardship(f"She {text}.") == {event} for event, text in tier_writer.EVENTS.items()), "each request is read as its own event"
    with pytest.raises(InputError, match="unknown event 'Q99'"):
        tier_writer.balanced_prompts(prompts[:1], [["Q99"]])


def test_events_are_those_of_real_people_of_the_same_race_and_age():
    """The rate of a group among the drawn is the weighted rate of that group in the poll; a person's events do not depend on who else is drawn."""
    people = study_people(600, seed=1)
    drawn = pd.Series([len(e) > 0 for e in tier_writer.real_events(people, seed=1)], index=people.index)
    assert tier_writer.real_events(people.iloc[40:45], seed=1) == tier_writer.real_events(people, seed=1)[40:45]
    poll = load_survey("nonvoters_2020").people
    own = poll[list(tier_writer.EVENTS)].astype("boolean").fillna(False).any(axis=1).to_numpy(dtype=float)
    for ages, bands in (((18, 39), ("18-29", "30-39")), ((60, 120), ("60-69", "70+"))):
        there = poll["age"].between(*ages) & (poll["race"] == "White")
        mine = people["age_band"].isin(bands) & (people["race"] == "White")
        rate, n = np.average(own[there], weights=poll.loc[there, "weight"]), int(mine.sum())
        assert n > 80 and drawn[mine].mean() == pytest.approx(rate, abs=3.5 * np.sqrt(rate * (1 - rate) / n))


@pytest.fixture
def gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SMOKE_PLAN", StudyPlan(elections=50, opinions=5, grid=50, respondents=6, gates=4))
    return jobs.BiasStudy(RunConfig(profile="smoke", out=str(tmp_path)), planted=tmp_path / "planted").gather()


def test_a_writer_that_says_what_it_is_asked_closes_the_gap_and_keeps_its_lean(gathered):
    """The planted writer names a hardship for one person in ten by itself; asked, it names every one. Its narratives lean left either way."""
    table = balanced.balanced_table(gathered)
    wanted = [set(filter(None, asked.split(","))) for asked in gathered.frames["balanced"].drop_duplicates("persona_id")["asked"]]
    assert table.loc["own hardships named", "balanced"] == 1.0 and table.loc["own hardships named", "before"] < 0.3
    assert table.loc["own hardships named", "n"] == sum(map(bool, wanted)), "who has none is not in the share"
    assert table.loc["any hardship", "balanced"] == pytest.approx(np.mean([bool(w) for w in wanted]), abs=0.1) and table.loc["any hardship", "lo"] > 0
    assert table.loc["any hardship", "people"] == pytest.approx(0.478, abs=0.001) and table["people"].notna().sum() == 1
    assert table.loc["polarity", "change"] < 0, "bad news is less positive"
    assert table.filter(like="alignment", axis=0)["change"].abs().max() < 0.06 and (table["n"] > 0).all()
    changed = table["balanced"] - table["before"]
    assert np.allclose(changed, table["change"]) and ((table["lo"] <= table["change"]) & (table["change"] <= table["hi"])).all()


def test_people_without_one_of_both_narratives_are_left_out_and_none_at_all_is_an_empty_table(gathered):
    there = gathered.frames["balanced"]
    some = there["persona_id"].isin(there["persona_id"].unique()[:10])
    fewer = replace(
        gathered, frames=gathered.frames | {"balanced": there.assign(card=there["card"].where(~some, None), probs=there["probs"].where(~some, None))}
    )
    assert balanced.balanced_table(fewer).loc["any hardship", "n"] == balanced.balanced_table(gathered).loc["any hardship", "n"] - 10
    nobody = replace(gathered, frames=gathered.frames | {"balanced": there.assign(card=None)})
    assert balanced.balanced_table(nobody).empty


def test_narratives_that_cannot_be_used_are_named():
    class Silent:
        def write(self, prompts, sampling):
            return [Written("" if i % 2 else "Too short.") for i, _ in enumerate(prompts)]

    made = tier_writer.balanced_cards(Silent(), study_people(4, seed=1), seed=1)
    assert made["card"].isna().all() and made["problem"].tolist() == ["too short", "no answer"] * 2
    assert tier_writer.balanced_cards(planted_world(), study_people(4, seed=1), seed=1)["problem"].tolist() == [""] * 4
