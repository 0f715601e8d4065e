"""Option probabilities of a questionnaire beside a forward an option and lm-evaluation-harness.

All contenders score the same token ids: the prompt, then the option's name; what an option gets is its likelihood over that of all options of the item.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .measuring import Check, Comparison, Contender, largest_difference, missing
from .model_inputs import Answering, answering

SEED = 42
HARNESS_BATCH = 16
LIMIT = 1e-4  # of a probability: sums in another order, 32 bits


def options(*, small: bool, folder: Path, key: str, people: int) -> Comparison:
    """The 47 closed items x `people` (8 items of one person if `small`), ours beside a forward an option and lm-eval."""
    from polypersona_lib.models.generation import choice_probabilities
    from polypersona_lib.scoring.administration import questionnaire

    who = answering("tinyllama-1.1b" if small else key)
    sheet = questionnaire(1 if small else people, SEED)
    sheet = sheet.head(8) if small else sheet
    prompts, labels = who.prompt_ids(sheet["messages"].tolist()), _labels(who, sheet["options"].tolist())
    real = sum(len(p) * len(row) + sum(map(len, row)) for p, row in zip(prompts, labels, strict=True))
    contenders = [
        Contender(name="ours", work=lambda: choice_probabilities(who.model, who.tokenizer, sheet), real=real, computed=_computed(who, sheet, labels)),
        Contender(name="one forward an option", work=lambda: _one_by_one(who, prompts, labels), goal=10, real=real, computed=real),
    ]
    left_out = {}
    if why := missing("lm_eval", "pip install lm-eval"):
        left_out["lm-eval loglikelihood"] = why
    else:
        harness = _harness(who, prompts, labels)
        contenders.append(
            Contender(name="lm-eval loglikelihood", work=harness, goal=5, real=real, computed=real, optional=True, note=f"batches of {HARNESS_BATCH}")
        )

    def gate(given: dict) -> list[Check]:
        own = [p for row in given["ours"] for p in row]
        others = {name: [p for row in rows for p in row] for name, rows in given.items() if name != "ours"}
        return [Check(f"{name}: probability of an option", largest_difference(own, rows), LIMIT) for name, rows in others.items()]

    title = f"probabilities of {sum(map(len, labels)):,} options, {len(sheet):,} questions ({sheet['persona_id'].nunique()} people), {who.name}, 32 bits"
    return Comparison(title=title, contenders=contenders, gate=gate, left_out=left_out)


def _labels(who: Answering, options: list[list[str]]) -> list[list[list[int]]]:
    """Token ids of every option's name as an answer begins with it."""
    from polypersona_lib.prompts import chat

    lead = chat.answer_lead(who.tokenizer)
    return [[who.tokenizer(lead + name, add_special_tokens=False)["input_ids"] for name in row] for row in options]


def _computed(who: Answering, sheet, labels: list) -> int:
    """Positions of ours: a prefix once a person, the rest of a prompt once a question, an option's tokens but the last (padding left out)."""
    from polypersona_lib.prompts import chat

    pairs = [chat.encode_prompt(who.tokenizer, m) for m in sheet["messages"]]
    tails = sum(len(label) - 1 for row in labels for label in row)
    return tails + sum(len(rest) for _, rest in pairs) + sum(map(len, {tuple(shared) for shared, _ in pairs}))


def _shares(logs: list[float]):
    """Probabilities that sum to 1 from log-likelihoods."""
    import numpy as np

    weights = np.exp(np.array(logs) - max(logs))
    return weights / weights.sum()


def _one_by_one(who: Answering, prompts: list, labels: list) -> list:
    """The plain way: the whole prompt with one option behind it, one forward each."""
    import torch

    answers = []
    with torch.no_grad():
        for prompt, row in zip(prompts, labels, strict=True):
            logs = []
            for label in row:
                ids = torch.tensor([prompt + label], device=who.model.device)
                scores = torch.log_softmax(who.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float(), dim=-1)
                logs.append(float(scores.gather(1, ids[0, len(prompt) :, None]).sum()))
            answers.append(_shares(logs))
    return answers


def _harness(who: Answering, prompts: list, labels: list):
    """lm-evaluation-harness on the loaded model: its own batching, sorting and sharing of contexts."""
    harness = import_module("lm_eval.models.huggingface")  # optional, in no lock
    judge = harness.HFLM(pretrained=who.model, tokenizer=who.tokenizer, batch_size=HARNESS_BATCH)
    requests = [((str(i), str(k)), prompt, label) for i, (prompt, row) in enumerate(zip(prompts, labels, strict=True)) for k, label in enumerate(row)]

    def work() -> list:
        logs = iter(log for log, _ in judge._loglikelihood_tokens(requests, disable_tqdm=True))  # the method behind `loglikelihood`, on our token ids
        return [_shares([next(logs) for _ in row]) for row in labels]

    return work
