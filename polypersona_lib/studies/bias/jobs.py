"""The bias study as jobs: who writes cards, who answers, how many people fit the time; each job one Parquet file, done when it is whole.

A run begins with two measured jobs; from their time follows how many people everything else gets (`StudyPlan`). `plan.json` keeps that, so that a run that
was stopped goes on with the same people. Answers of an earlier run are kept as long as weights, prompts, items and seed stay the same.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, paths
from ...config import RunConfig
from ...errors import InputError
from ...models.answer_budget import NOT_ASKED, AnswerCache, Budget, answers_folder, read_limits
from ...models.answerers import Answerer, LocalAnswerer
from ...models.published_adapters import find_adapter
from ...models.server_answerer import ServerAnswerer
from ...models.weights import begun_by, is_twin, weights_identity
from ...people.card_tiers import TIER_LADDER, TIERS, tier_attributes
from ...prompts.chat import PROMPT_VERSION
from ...registry import get_spec
from ...systems import is_untuned, model_of, untuned
from . import simulation
from .item_bank import FAMILIES, bank, family_items, respondent_items
from .plan import GRID_TIERS, MINUTES, MOST, SHARD, SMOKE_PLAN, Gathered, StudyPlan, minutes_of_asking, plan_for, plan_lines, study_people
from .planted import PLANTED, planted_world
from .tier_writer import EVENTS, Filled, balanced_cards, cards_of, fill, template_filled

STUDY_VERSION = "2"
NO_MODEL = "template"


def adapter_of(run: RunConfig, key: str) -> Path | None:
    """The folder of a model's adapter: this run's, the small or nano run's beside it, or the published one; None if it was tuned nowhere."""
    beside = [replace(run, profile=profile).paths.results for profile in ("small", "nano")]
    published = [paths.ROOT / "results" / "shipped"] if run.name in ("bias", "nano") else []
    return find_adapter(key, [run.paths.results, *beside, *published])


def cast(run: RunConfig) -> tuple[list[str], list[str]]:
    """(generators, simulators) of a run, the main one first: real models untuned and, where there is an adapter, tuned; twins tuned; models on servers.

    Smoke has a planted world first. A template writes cards in every run and answers nothing. Raises: FileNotFoundError if nobody can answer.
    """
    systems = []
    for key in run.model_keys[: 1 if run.profile == "smoke" else None]:
        tuned = [key] if adapter_of(run, key) else []
        systems += tuned if is_twin(get_spec(key), run.settings.scale) else [untuned(key), *tuned]
    systems = sorted(systems, key=lambda s: is_twin(get_spec(model_of(s)), run.settings.scale))
    systems = [*([PLANTED] if run.profile == "smoke" else []), *(server.system for server in run.servers), *systems]
    if not systems:
        raise FileNotFoundError(f"none of {', '.join(run.model_keys)} can answer here: no adapter was found; run first: ./run_all.sh nano")
    return [*systems, NO_MODEL], systems


def _waits(frame: pd.DataFrame) -> bool:
    """Whether a kept job is asked again when the run goes on: some rows were never sent, because a budget was spent, or nobody who has a card was answered."""
    if not {"probs", "reason"} <= set(frame):
        return False
    there = frame[frame["reason"].fillna("") != "no card"]
    return bool(there["reason"].fillna("").str.contains(NOT_ASKED).any()) or (len(there) > 0 and bool(there["probs"].isna().all()))


def _asked(items: Sequence) -> list:
    """What of the items an answer depends on."""
    return [(item.id, item.text, list(item.options)) for item in items]


class BiasStudy:
    """One run of the study: loads whoever answers when first needed and keeps every finished job."""

    def __init__(self, run: RunConfig, *, planted: Path | None = None):
        """`planted`: a folder for a run of the planted world alone, whatever the profile; else the run's folder `bias`."""
        self.run, self.folder = run, planted or run.paths.folder("bias")
        self.generators, self.simulators = ([PLANTED, NO_MODEL], [PLANTED]) if planted else cast(run)
        self._open: dict[str, Answerer] = {}
        self.asked, self.kept = 0, 0
        self.budget = Budget(read_limits())

    # --- who answers -----------------------------------------------------------------------------------------------------------------

    def answerer(self, system: str) -> Answerer:
        """Whoever goes by this name, loaded once."""
        if system not in self._open:
            self._open[system] = self._load(system)
        return self._open[system]

    def _load(self, system: str) -> Answerer:
        server = next((s for s in self.run.servers if s.system == system), None)
        if system == PLANTED:
            return planted_world()
        if server:
            return ServerAnswerer(server, AnswerCache(answers_folder()), self.budget, seed=self.run.seed, label=f"questions to {server.model}")
        from ...models.adapters import load_for_inference
        from ...models.loading import load_tokenizer

        spec, scale = get_spec(model_of(system)), self.run.settings.scale
        adapter = None if is_untuned(system) else adapter_of(self.run, spec.key)
        return LocalAnswerer(load_for_inference(spec, scale, adapter), load_tokenizer(spec, scale), name=system, begun=begun_by(spec, scale, adapter))

    def identity(self, system: str) -> str:
        """Equal if and only if the same weights answer, in the same way."""
        if server := next((s for s in self.run.servers if s.system == system), None):
            return f"{server.address}#{server.model}"
        if system in (PLANTED, NO_MODEL):
            return system
        spec = get_spec(model_of(system))
        adapter = None if is_untuned(system) else adapter_of(self.run, spec.key)
        begun = begun_by(spec, self.run.settings.scale, adapter)
        return f"{weights_identity(spec, self.run.settings.scale)}|{files.folder_hash(adapter) if adapter else 'untuned'}" + (f"|{begun}" if begun else "")

    # --- one job, one file -----------------------------------------------------------------------------------------------------------

    def keep(self, name: str, parts: Sequence, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The frame of the job `name`: from its file if that was made with equal `parts`, else made now and written whole. `attrs["seconds"]`: what it took."""
        path, mark = self.folder / f"{name}.parquet", files.fingerprint(STUDY_VERSION, PROMPT_VERSION, self.run.seed, *parts)
        if (frame := files.kept_frame(path)) is not None and frame.attrs.get("mark") == mark and not _waits(frame):
            self.kept += 1
            return frame
        began = time.monotonic()
        frame = make()
        frame.attrs |= {"mark": mark, "seconds": time.monotonic() - began}
        files.keep_frame(frame, path, index=None)
        self.asked += 1
        return pd.read_parquet(path)

    def filled(self, generator: str, shard: int, people: pd.DataFrame) -> Filled:
        """What a generator made of one shard of people. The seed of the generation changes with the shard: three of them, so that no result hangs on one."""
        seed = self.run.seed + shard % 3
        frame = self.keep(f"cards/{generator}--{shard:02d}", [self.identity(generator), list(people.index)], lambda: self._fill(generator, people, seed))
        names = list(tier_attributes())
        return Filled(
            values=frame[[*names, "real_ideology", "real_party", "matched"]].astype(object).where(frame.notna(), None),
            probs=frame[[f"p_{n}" for n in names]].set_axis(names, axis=1), texts=frame[["story", "hobby"]],
            counts=pd.DataFrame(frame.attrs["counts"], columns=["what", "problem", "n", "of"]),
        )  # fmt: skip

    def _fill(self, generator: str, people: pd.DataFrame, seed: int) -> pd.DataFrame:
        made = template_filled(people, seed=seed) if generator == NO_MODEL else fill(self.answerer(generator), people, seed=seed)
        frame = made.values.join(made.probs.map(lambda p: None if p is None else np.asarray(p).tolist()).add_prefix("p_")).join(made.texts)
        frame.attrs = {"counts": made.counts.to_dict("records")}
        return frame

    def cards(self, generator: str, count: int) -> tuple[pd.DataFrame, list[Filled]]:
        """The cards of the first `count` people by one generator, and what it filled in, shard by shard."""
        made, cards = [], []
        for shard in range(-(-count // SHARD)):
            part = study_people(MOST, seed=self.run.seed).iloc[shard * SHARD : (shard + 1) * SHARD]
            made.append(self.filled(generator, shard, part))
            cards.append(cards_of(part, made[-1], seed=self.run.seed + shard % 3).assign(shard=shard))
        cards = pd.concat(cards, ignore_index=True)
        return cards[cards["persona_id"].isin(study_people(count, seed=self.run.seed).index)], made

    def answers(self, simulator: str, generator: str, count: int, *, tiers: Sequence[str], families: Sequence[str]) -> pd.DataFrame:
        """A simulator's answers to the items of some families as the first `count` people, on a generator's cards of some tiers."""
        cards, _ = self.cards(generator, count)
        parts = []
        for shard, own in cards.groupby("shard"):
            for tier in tiers:
                for family in families:
                    asked = own[own["tier"] == tier]
                    name = f"answers/{simulator}--{generator}--{tier}--{family}--{shard:02d}"
                    mark = [self.identity(simulator), asked["text"].tolist(), _asked(family_items(family))]
                    make = lambda asked=asked, family=family: simulation.ask_cards(self.answerer(simulator), asked, family_items(family))  # noqa: E731
                    parts.append(self.keep(name, mark, make))
        return pd.concat(parts, ignore_index=True).assign(simulator=simulator, generator=generator)

    def balanced(self, plan: StudyPlan) -> pd.DataFrame:
        """Narratives of the main generator by the request that names real hardships, for the people of the grid, and the main simulator's votes on them: one
        row a person and election, with the card, what was asked for and what went wrong beside the answer."""
        generator, main, parts = self.generators[0], self.simulators[0], []
        for shard in range(-(-plan.grid // SHARD)):
            people = study_people(plan.grid, seed=self.run.seed).iloc[shard * SHARD : (shard + 1) * SHARD]
            write = lambda people=people, seed=self.run.seed + shard % 3: balanced_cards(self.answerer(generator), people, seed=seed)  # noqa: E731
            cards = self.keep(f"cards/{generator}--balanced--{shard:02d}", [self.identity(generator), list(people.index), *EVENTS.values()], write)
            cards = cards.astype(object).where(cards.notna(), None)
            mark = [self.identity(main), cards["card"].tolist(), _asked(family_items("elections"))]
            ask = lambda cards=cards: simulation.ask_cards(self.answerer(main), cards, family_items("elections"))  # noqa: E731
            answers = self.keep(f"answers/{main}--{generator}--balanced--elections--{shard:02d}", mark, ask)
            parts.append(answers.merge(cards[["persona_id", "card", "asked", "problem"]], on="persona_id"))
        return pd.concat(parts, ignore_index=True)

    # --- the plan and everything in it -----------------------------------------------------------------------------------------------

    def plan(self) -> StudyPlan:
        """The plan of this run: kept, fixed (with a planted world), or made from the time that the first shard of the main generator and simulator takes."""
        if PLANTED in self.simulators:
            return SMOKE_PLAN
        minutes, path = minutes_of_asking(), self.folder / "plan.json"
        mark = files.fingerprint(STUDY_VERSION, [self.identity(s) for s in self.generators], self.run.seed, *([minutes] if minutes != MINUTES else []))
        if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["mark"] == mark:
            return StudyPlan(**known["plan"])
        main = self.simulators[0]
        self.answerer(main)  # loading is no part of the measured time
        self.cards(self.generators[0], SHARD)
        measured = self.answers(main, self.generators[0], SHARD, tiers=("objective",), families=("elections",))
        if _waits(measured) or measured["probs"].isna().mean() > 0.5:
            raise InputError(f"{main}: {measured['probs'].isna().sum()} of the first {len(measured)} answers are missing "
                             f"({next(filter(None, measured['reason']), 'no reason given')}); nothing is planned from that")  # fmt: skip
        names = (f"answers/{main}--{self.generators[0]}--objective--elections--00", f"cards/{self.generators[0]}--00")
        asking, writing = (pd.read_parquet(self.folder / f"{name}.parquet").attrs["seconds"] for name in names)
        slow = [s for s in self.simulators if any(v.system == s for v in self.run.servers) or not is_twin(get_spec(model_of(s)), self.run.settings.scale)]
        made = plan_for(asking / len(measured), len(slow) * len(self.generators), len(slow), writing=writing / SHARD, writers=len(slow), minutes=minutes)
        files.write_atomically(path, json.dumps({"mark": mark, "plan": asdict(made)}, indent=1) + "\n")
        return made

    def priors(self) -> pd.DataFrame:
        """What each simulator says to every item for nobody: simulator, item, card, probs."""
        items = [item for item in bank().values()]
        mark = _asked(items)
        made = [self.keep(f"prior/{s}", [self.identity(s), mark], lambda s=s: simulation.ask_prior(self.answerer(s), items)) for s in self.simulators]
        return pd.concat([frame.assign(simulator=s) for s, frame in zip(self.simulators, made, strict=True)], ignore_index=True)

    def gates(self, plan: StudyPlan) -> pd.DataFrame:
        """The gates of every simulator: `answer_gates.check_gates` with a column simulator."""

        def asked(system: str) -> pd.DataFrame:
            table = simulation.gates(self.answerer(system), people=plan.gates, seed=self.run.seed)
            return table.assign(passed=table["passed"].map({True: "passed", False: "failed", None: "not tested"}))

        made = {s: self.keep(f"gates/{s}", [self.identity(s), plan.gates], lambda s=s: asked(s)) for s in self.simulators}
        return pd.concat([frame.assign(simulator=s) for s, frame in made.items()], ignore_index=True)

    def respondents(self, plan: StudyPlan) -> dict[str, pd.DataFrame]:
        """Simulator -> its answers as real respondents (cards without politics)."""
        cards, items = simulation.respondent_cards(plan.respondents, seed=self.run.seed), respondent_items()
        return {s: self.keep(f"respondents/{s}", [self.identity(s), cards["persona_id"].tolist(), _asked(items)],
                             lambda s=s: simulation.ask_cards(self.answerer(s), cards, items)) for s in self.simulators}  # fmt: skip

    def gather(self) -> Gathered:
        """Do everything that is left to do, and put all of it together. Prints n first."""
        plan = self.plan()
        print("\n".join(plan_lines(plan, self.generators, self.simulators)))
        gates, prior = self.gates(plan), self.priors()
        answers, respondents = self.everything(plan), pd.concat([f.assign(simulator=s) for s, f in self.respondents(plan).items()], ignore_index=True)
        requests = self.balanced(plan)
        cards, values, counts = [], [], []
        for place, generator in enumerate(self.generators):
            own, made = self.cards(generator, plan.elections if place == 0 else plan.grid)
            cards.append(own.assign(generator=generator))
            values += [f.values.join(f.probs.add_prefix("p_")).assign(generator=generator, shard=shard) for shard, f in enumerate(made)]
            counts += [f.counts.assign(generator=generator) for f in made]
        print(f"{self.asked} jobs done, {self.kept} kept from before")
        frames = {"gates": gates, "prior": prior, "answers": answers, "respondents": respondents, "balanced": requests}
        frames |= {
            "cards": pd.concat(cards, ignore_index=True).drop(columns="card"),
            "values": pd.concat(values),
            "counts": pd.concat(counts, ignore_index=True),
        }
        return Gathered(self.run.seed, plan, tuple(self.generators), tuple(self.simulators), frames)

    def everything(self, plan: StudyPlan) -> pd.DataFrame:
        """All answers of all cards: the main generator and simulator on every tier, the rest of the grid on two."""
        main, first = self.simulators[0], self.generators[0]
        parts = [self.answers(main, first, plan.elections, tiers=tuple(TIERS), families=("elections",))]
        parts.append(self.answers(main, first, plan.opinions, tiers=TIER_LADDER, families=[f for f in FAMILIES if f != "elections"]))
        for generator in self.generators:
            for simulator in self.simulators:
                if (simulator, generator) != (main, first):
                    parts.append(self.answers(simulator, generator, plan.grid, tiers=GRID_TIERS, families=("elections",)))
        return pd.concat(parts, ignore_index=True)
