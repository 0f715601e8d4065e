"""Models on servers answer the test rows and the questionnaire, zero-shot: gates, answers (kept on disk), a record of the cost."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..config import RunConfig
from ..files import write_atomically
from ..models.answer_budget import AnswerCache, Budget, answers_folder, read_limits
from ..models.answer_gates import check_gates, gate_lines, with_stranger
from ..models.answerers import Answerer, ask_in_orders, prompts_of
from ..models.generation import ADMINISTRATION, SAMPLING, Draws
from ..models.server_answerer import SAMPLES, ServerAnswerer
from .administration import answered_sheet
from .answer_files import predictions_frame, write_predictions

GATE_PEOPLE, GATE_ITEMS = 12, 6


def predict_servers(run: RunConfig, test: pd.DataFrame, sheet: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """Every server's model of the run answers the test rows (files in `preds/`) and, if given, the questionnaire. Returns: system -> its administration.

    All of them share one budget (`answer_budget.read_limits`). What it does not allow has no answer and says so; what was answered is kept, so that
    the same command asks only what is missing. `preds/servers.json` says what was asked, what it cost and which gates failed.
    """
    if not run.servers:
        return {}
    budget, cache = Budget(read_limits()), AnswerCache(answers_folder())
    sheets, record = {}, {}
    for spec in run.servers:
        answerer = ServerAnswerer(spec, cache, budget, seed=run.seed, label=f"questions to {spec.model}")
        record[spec.system] = _predict(run, answerer, test, sheet, sheets) | answerer.record()
    write_atomically(run.paths.folder("preds") / "servers.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return sheets


def _predict(run: RunConfig, answerer: Answerer, test: pd.DataFrame, sheet: pd.DataFrame | None, sheets: dict[str, pd.DataFrame]) -> dict:
    """One server's part, the few test rows first: a budget that ends too early still leaves a row of Table II. Returns its part of the record."""
    if sheet is not None:
        each = 2 * SAMPLES  # both orders of the options
        print(f"{answerer.name}: {len(test):,} test rows, then gates on {GATE_PEOPLE * GATE_ITEMS} prompts and {len(sheet):,} of the questionnaire: "
              f"one request a text, and for the options of a prompt at most {each} (2 where the server gives logprobs); "
              f"what is answered is kept: Ctrl-C or --max-requests stop here, the same command goes on")  # fmt: skip
    written = answerer.write(prompts_of(test), Draws(run.seed, [SAMPLING.get(kind, SAMPLING["open"]) for kind in test["question_type"]]))
    reasons = [answer.reason for answer in written]
    write_predictions(run, predictions_frame(test, [answer.text for answer in written], answerer.name, reasons=reasons))
    record = {"test_rows_without_an_answer": _tell(answerer.name, "test rows", reasons), "gates": []}
    if sheet is not None:
        record["gates"] = gates_of(answerer, sheet, run.seed)
        sheets[answerer.name], lacking = administer(answerer, sheet, run.seed)
        record["questionnaire_rows_without_an_answer"] = _tell(answerer.name, "answers to the questionnaire", lacking)
    return record


def administer(answerer: Answerer, sheet: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The questionnaire to any answerer, options in both orders: (its administration, each row's reason for having no answer or "")."""
    choices = ask_in_orders(answerer, sheet)
    texts = answerer.write(prompts_of(sheet), Draws(seed, [ADMINISTRATION] * len(sheet)))
    answered = answered_sheet(sheet, [choice.probs for choice in choices], [text.text for text in texts])
    return answered, [choice.reason if choice.probs is None else "" for choice in choices]


def gates_of(answerer: Answerer, sheet: pd.DataFrame, seed: int) -> list[dict]:
    """Ask a few people a few items, print each gate in one line, and return the gates as plain numbers."""
    people, items = sheet["persona_id"].unique()[:GATE_PEOPLE], sheet["question_id"].unique()
    some = items[np.linspace(0, len(items) - 1, min(GATE_ITEMS, len(items))).astype(int)]
    rows = sheet[sheet["persona_id"].isin(people) & sheet["question_id"].isin(some)].reset_index(drop=True)
    table = check_gates(answerer, rows, strangers=with_stranger(rows, seed=seed), seed=seed)
    for line in gate_lines(table):
        print(f"{answerer.name}: {line}")
    plain = table.astype(object).where(table.notna(), None)
    return plain.drop(columns="meaning").to_dict("records")


def _tell(system: str, what: str, reasons: Sequence[str]) -> dict[str, int]:
    """How many rows lack an answer, by reason; printed if there are any."""
    counted = Counter(reason for reason in reasons if reason)
    for reason, count in counted.most_common(5):
        print(f"{system}: {count:,} of {len(reasons):,} {what} have no answer: {reason}")
    if any("not asked" in reason for reason in counted):
        print("what was answered is kept; to ask for the rest: the same command with --only 04 --force")
    return dict(counted.most_common())
