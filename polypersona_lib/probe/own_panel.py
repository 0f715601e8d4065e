"""A user's own questionnaire put to own people: everybody asked person by person, and a folder as `ask` writes it, for `score` and `pilot`.

A folder belongs to one questionnaire, people, model and way of asking. Asking again in the same way goes on where it stopped.
"""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from .. import paths
from ..ask.asking import AskPlan, Room, ask_people
from ..ask.output import ANSWER_FILES, write_output
from ..config import RunConfig
from ..errors import InputError, one_line
from ..files import file_hash, fingerprint, read_json, replacing, value_hash, write_atomically
from ..intake.people_file import People, card_of_row
from ..intake.survey_format import ANSWER_COLUMNS, FORMAT, Item, Questionnaire, item_to_dict, shaped
from ..models.answer_budget import NOT_ASKED
from ..models.answerers import Answerer, LocalAnswerer, OptionShares, Prompt, Written
from ..models.generation import SAMPLING, Draws
from ..models.weights import begun_by, weights_identity
from ..prompts import chat
from ..registry import get_spec
from ..systems import is_server, untuned
from ..world.questions import DOMAINS
from .asking import NO_ADAPTER, Ask, System, description_checks
from .interview import CHUNK, adapter_folders
from .questionnaire import safe_name

MOST_PANEL = 500  # people whom the page asks; the command `ask` takes any number
MOST_DESCRIBED, MOST_CHECKED = 5, 6  # whether words count is measured for so many people described in words, with so many questions
REPORT = "report"
_ANSWERS, _WORDS, _SAID = "answers.parquet", "words.json", "said.json"
_KEEP_S = 1.0  # seconds between two writings of what is finished: a page that dies loses so much


@dataclass(frozen=True, kw_only=True)
class OwnPanel:
    """Who is asked what, by whom and how. `folder`: its answers. label, address: of `system` for readers; address "" for this machine."""

    questionnaire: Questionnaire
    people: People
    system: System
    label: str
    address: str
    plan: AskPlan
    folder: Path

    @property
    def name(self) -> str:
        """What its answers call the system, as `--models` of `ask` names it."""
        return self.system.key if is_server(self.system.key) or self.system.adapter != NO_ADAPTER else untuned(self.system.key)


def panel_of(run: RunConfig, questionnaire: Questionnaire, people: People, system: System, plan: AskPlan) -> OwnPanel:
    """The panel of these choices, with the folder that belongs to them below the run's results."""
    server = next((s for s in run.servers if s.system == system.key), None)
    identity = f"{server.address}#{server.model}" if server else _weights(run, system)
    cards = people.frame[["persona_id", "card", "own_answers"]].astype(object)
    asked = [value_hash([item_to_dict(item) for item in questionnaire.items]), value_hash(cards.where(cards.notna(), None).values.tolist())]
    name = f"{safe_name(Path(questionnaire.source).stem)[:40]}-{fingerprint(FORMAT, asked, asdict(system), identity, chat.PROMPT_VERSION, plan)[:8]}"
    return OwnPanel(questionnaire=questionnaire, people=people, system=system, label=system.label(run.settings.scale),
                    address=server.address if server else "", plan=plan, folder=run.paths.results / "probe" / "panels" / name)  # fmt: skip


@lru_cache(maxsize=64)
def _weights(run: RunConfig, system: System) -> str:
    """Equal only if the model's weights, its adapter and the way it is asked are the same; looked at once, as a model is loaded once."""
    base, folder = weights_identity(get_spec(system.key), run.settings.scale), adapter_folders(run, system.key).get(system.adapter)
    begun = begun_by(get_spec(system.key), run.settings.scale, folder)
    return base + (f" + adapter {file_hash(folder / 'adapter_model.safetensors')}" if folder else "") + begun


# --- asking -----------------------------------------------------------------------------------------------------------------------


def finished_answers(panel: OwnPanel) -> pd.DataFrame:
    """The answers of the people who are done (`ANSWER_COLUMNS`), those that wait for a budget left out. Raises InputError for a damaged file."""
    path = panel.folder / _ANSWERS
    if not path.is_file():
        return shaped(pd.DataFrame(columns=[c.name for c in ANSWER_COLUMNS]), ANSWER_COLUMNS)
    try:
        answers = shaped(pd.read_parquet(path), ANSWER_COLUMNS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)[:80]}); delete this folder to ask again") from None
    waiting = answers["reason"].fillna("").str.contains(NOT_ASKED, regex=False) & answers["status"].ne("skipped")
    return answers[~answers["persona_id"].isin(set(answers.loc[waiting, "persona_id"]))].reset_index(drop=True)


def answerer_of(generator, system: System, look: Callable[[], None]) -> tuple[Answerer, Room]:
    """Whoever answers for `system`, and the room of its prompts. `look` is called before every few prompts and after every token; what it raises ends the work.

    Args: generator: an `interview.ModelGenerator` whose model is loaded.
    """
    if is_server(system.key):
        return _Listening(generator.server(system.key), look, streams=False), Room()
    model, tokenizer = generator.model(system), generator.tokenizer(system.key)
    room = Room(getattr(model.config, "max_position_embeddings", None), lambda messages: sum(map(len, chat.encode_prompt(tokenizer, messages))))
    begun = begun_by(get_spec(system.key), generator.run.settings.scale, system.adapter != NO_ADAPTER)
    return _Listening(LocalAnswerer(model, tokenizer, name=system.key, begun=begun), look, streams=True), room


class _Listening:
    """An answerer that hears Stop; the answers are those of `answerer`. `streams`: it can be watched while it writes without being slower."""

    def __init__(self, answerer: Answerer, look: Callable[[], None], *, streams: bool):
        self.answerer, self.look, self.name, self.watch = answerer, look, answerer.name, ({"watch": lambda _: look()} if streams else {})

    def write(self, prompts: Sequence[Prompt], sampling: Draws) -> list[Written]:
        """See `Answerer`."""
        written: list[Written] = []
        for start in range(0, len(prompts), CHUNK):
            self.look()
            written += self.answerer.write(prompts[start : start + CHUNK], Draws(sampling.seed, sampling.settings[start : start + CHUNK]), **self.watch)
        return written

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        """See `Answerer`."""
        shares: list[OptionShares] = []
        for start in range(0, len(prompts), CHUNK):
            self.look()
            shares += self.answerer.option_probabilities(prompts[start : start + CHUNK], options[start : start + CHUNK])
        return shares


def ask_panel(panel: OwnPanel, people: pd.DataFrame, answerer: Answerer, room: Room, on_done: Callable[[int], None]) -> pd.DataFrame:
    """Everybody of `people` who is not done answers everything; `on_done` gets the number of their answers so far. Returns all finished answers.

    What is finished is kept in the folder about once a second and whenever the work ends, also by an error.
    """
    frames, written = [finished_answers(panel)], time.monotonic()
    done, wanted = set(frames[0]["persona_id"]), set(people["persona_id"])
    count = int(frames[0]["persona_id"].isin(wanted).sum())
    try:
        on_done(count)
        for at in range(len(people)):
            one = people.iloc[[at]]
            if one["persona_id"].iloc[0] in done:
                continue
            frames.append(ask_people(answerer, panel.questionnaire, one, panel.plan, system=panel.name, room=room))
            count += len(frames[-1])
            if time.monotonic() - written > _KEEP_S:
                written = _keep(panel, frames)
            on_done(count)
    finally:
        if len(frames) > 1:
            _keep(panel, frames)
    return finished_answers(panel)


def _keep(panel: OwnPanel, frames: list[pd.DataFrame]) -> float:
    """Write what is finished; returns when that was."""
    with replacing(panel.folder / _ANSWERS) as new:
        pd.concat([f for f in frames if len(f)], ignore_index=True).to_parquet(new, index=False, compression="zstd")
    return time.monotonic()


# --- do the descriptions count? ---------------------------------------------------------------------------------------------------


def described_asks(panel: OwnPanel, people: pd.DataFrame) -> dict[str, list[Ask]]:
    """The `description_checks` of the first `MOST_DESCRIBED` people who are described in words: persona_id -> asks, three a question; {} if nobody is.

    Asked are the first `MOST_CHECKED` closed questions; without any, the first open one. Conditions are not looked at.
    """
    words = {p: card for p, card in zip(people["persona_id"], map(card_of_row, people["card"]), strict=True) if isinstance(card, str)}
    items = [item for item in panel.questionnaire.items if item.options][:MOST_CHECKED] or list(panel.questionnaire.items[:1])
    chosen = list(words.items())[:MOST_DESCRIBED]
    return {p: [check for item in items for check in description_checks(_ask(item, p, card, panel.plan.seed))] for p, card in chosen}


def keep_words(panel: OwnPanel, text: str, *, warning: bool, people: Sequence[str]) -> None:
    """Keep beside the answers what was measured of the descriptions of `people`."""
    write_atomically(panel.folder / _WORDS, json.dumps({"text": text, "warning": warning, "people": list(people)}, ensure_ascii=False))


def kept_words(panel: OwnPanel) -> tuple[str, bool, list]:
    """(text, warning, people) of `keep_words`; ("", False, []) if nothing was measured."""
    kept = read_json(panel.folder / _WORDS)
    people = kept.get("people")
    return str(kept.get("text", "")), bool(kept.get("warning")), people if isinstance(people, list) else []


def _ask(item: Item, persona_id: str, card: str, seed: int) -> Ask:
    domain = DOMAINS.get(item.domain, item.domain)
    return Ask(card, persona_id, item.id, domain, item.asked_text, item.type, item.options, seed, SAMPLING[item.type])


# --- what is left ------------------------------------------------------------------------------------------------------------------


def export_panel(panel: OwnPanel, answers: pd.DataFrame) -> list[str]:
    """Write the folder of `ask` for the people who are done, and `answers.zip` with all of it. Returns the lines that count what is missing."""
    people = replace(panel.people, frame=panel.people.frame[panel.people.frame["persona_id"].isin(set(answers["persona_id"]))].reset_index(drop=True))
    sources = {what: {"source": given.source, "sha256": given.sha256} for what, given in (("questionnaire", panel.questionnaire), ("people", people))}
    record = {"format": FORMAT, "prompt": chat.PROMPT_VERSION, **asdict(panel.plan), "sources": sources, "systems": [panel.label],
              "addresses": [panel.address] if panel.address else [], "notes": dict(panel.questionnaire.notes) | dict(people.notes)}  # fmt: skip
    lines = write_output(panel.folder, answers, panel.questionnaire, people, record)
    with replacing(panel.folder / "answers.zip") as new, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (*ANSWER_FILES, "README.md"):
            packed.write(panel.folder / name, f"{panel.folder.name}/{name}")
    return lines


def pilot_report(panel: OwnPanel, look: Callable[[], None]) -> list[str]:
    """Have the command `pilot` report on the folder, in a process of its own: Stop is heard, and the page is the command's. Returns what it prints.

    Args: look: raises what ends the work. Raises: InputError with the command's last line if it fails.
    """
    command = [sys.executable, "-P", "-m", "polypersona_lib", "pilot", "--answers", str(panel.folder), "--out", str(panel.folder / REPORT)]
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "PYTHONUTF8": "1"}
    child = subprocess.Popen(command, env=environment, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    try:
        while True:
            try:
                said, errors = child.communicate(timeout=0.3)
                break
            except subprocess.TimeoutExpired:
                look()
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode:
        raise InputError(f"pilot: {one_line((errors.strip() or 'it ended without a word').splitlines()[-1])[:240]}")
    lines = [line for line in said.splitlines() if not line.startswith("report: ")]
    kept = {"answers": len(finished_answers(panel)), "lines": lines}
    write_atomically(panel.folder / REPORT / _SAID, json.dumps(kept, ensure_ascii=False))
    return lines


def kept_report(panel: OwnPanel) -> tuple[Path | None, list[str]]:
    """(the report's page, what the pilot printed); (None, []) if there is none, or if answers came after it."""
    kept, page = read_json(panel.folder / REPORT / _SAID), panel.folder / REPORT / "pilot.html"
    if not page.is_file() or kept.get("answers") != len(finished_answers(panel)):
        return None, []
    return page, [str(line) for line in kept.get("lines", [])]


def summary_lines(questionnaire: Questionnaire, answers: pd.DataFrame) -> str:
    """Two lines a question: its text, then how often each option was taken and how probable it is on average."""
    lines = []
    for item in questionnaire.items:
        rows = answers[answers["question_id"] == item.id]
        lines += [item.text, "   " + (_option_lines(item, rows) if item.options else f"{rows['answer'].notna().sum()} answers in words")]
    return "\n".join(lines)


def _option_lines(item: Item, rows: pd.DataFrame) -> str:
    probs, parts = rows["option_probs"].dropna().tolist(), []
    for place, label in enumerate(item.labels):
        mean = f", {sum(p[place] for p in probs) / len(probs):.0%} probable" if probs else ""
        parts.append(f"{label}: {(rows['option'] == place).sum()}{mean}")
    skipped, none = rows["status"].eq("skipped").sum(), (rows["status"].ne("skipped") & rows["option"].isna()).sum()
    return "; ".join([*parts, *([f"{skipped} skipped"] if skipped else []), *([f"{none} without an option"] if none else [])])


def table_rows(panel: OwnPanel, answers: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Person, question, answer, option with its probability: a row an answer."""
    personas, items, rows = panel.people.frame.set_index("persona_id")["persona"], panel.questionnaire.bank, []
    for row in answers.itertuples():
        item, option = items[row.question_id], ""
        if item.options and not pd.isna(row.option):
            option = item.labels[row.option] + ("" if row.option_probs is None else f", probability {row.option_probs[row.option]:.0%}")
        reason = "" if pd.isna(row.reason) else f"({row.reason})"
        said = reason if pd.isna(row.answer) else row.answer
        rows.append((f"{row.persona_id}: {chat.neutralise(personas[row.persona_id])[:100]}", item.text, said, option or reason or "open question"))
    return rows
