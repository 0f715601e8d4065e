"""What vLLM is asked: the rows of a block as requests, Ray's settings, and replies back to answers. Nothing here needs vLLM or a GPU.

The requests are those that a server of the same model would get from `models.server_answerer`, with the same seeds. Of an item's options vLLM is asked once
where a server may be asked up to five times: rows go through it in one pass.
"""

import importlib.util
import json
import threading
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import pandas as pd

from ..errors import InputError
from ..files import value_hash
from ..intake.survey_format import Questionnaire
from ..models.answer_budget import Budget
from ..models.server_answerer import TOP, ServerAnswerer
from ..models.server_connection import Unanswered
from ..prompts import chat
from ..systems import ServerSpec
from .asking import AskPlan, Room, ask_people

BATCH_ROWS = 256  # rows that vLLM's stage takes at once; it mixes several batches
_LATER = "asked in the next step"


def check_vllm(questionnaire: Questionnaire, plan: AskPlan) -> None:
    """Raises InputError if a questionnaire takes more than one pass, or vLLM is not here."""
    if plan.mode != "single" or any(item.asked_if for item in questionnaire.items):
        raise InputError("--models vllm: takes --mode single and questions without conditions, because all rows go through it in one pass; "
                         "for others start vllm serve MODEL and name server:http://127.0.0.1:8000/v1#MODEL")  # fmt: skip
    if importlib.util.find_spec("vllm") is None:
        raise InputError("--models vllm: vLLM is not installed here; it needs a machine with a GPU: .venv-scale/bin/python -m pip install vllm")


def processor_settings(source: str, *, workers: int, context: int | None) -> dict:
    """The arguments of `ray.data.llm.vLLMEngineProcessorConfig`: `workers` engines with a GPU each, one failed row is one row."""
    engine = {"max_logprobs": TOP[0], "enable_prefix_caching": True, "trust_remote_code": False}
    return {
        "model_source": source, "concurrency": workers, "batch_size": BATCH_ROWS, "should_continue_on_error": True,
        "engine_kwargs": engine | ({"max_model_len": context} if context else {}),
        "chat_template_stage": {"enabled": False}, "tokenize_stage": {"enabled": False}, "detokenize_stage": {"enabled": False},
    }  # fmt: skip


def vllm_processor(source: str, *, workers: int, context: int | None) -> Any:
    """Ray's processor for a model in vLLM: `request_rows` in, rows with a reply out. Ray must be running; vLLM is needed when it is run."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    settings = processor_settings(source, workers=workers, context=context)
    return build_processor(vLLMEngineProcessorConfig(**settings), preprocess=partial(to_vllm, source=source), postprocess=to_reply)


def request_rows(people: pd.DataFrame, number: int, questionnaire: Questionnaire, plan: AskPlan, context: int | None) -> list[dict]:
    """The rows of block `number`: block, key, of (how many the block has), body (the request as JSON)."""
    replies = _Replies(None)
    _ask(people, questionnaire, plan, context, replies, "vllm")
    wanted = sorted(replies.wanted.items())
    return [{"block": number, "key": key, "of": len(wanted), "body": json.dumps(body)} for key, body in wanted]


def block_frame(
    people: pd.DataFrame, questionnaire: Questionnaire, plan: AskPlan, context: int | None, replies: Mapping[str, dict], system: str
) -> pd.DataFrame:
    """The answers of a block (`ANSWER_COLUMNS`) from the replies to its rows (key -> reply)."""
    return _ask(people, questionnaire, plan, context, _Replies(replies), system)


def _ask(people: pd.DataFrame, questionnaire: Questionnaire, plan: AskPlan, context: int | None, replies: "_Replies", system: str) -> pd.DataFrame:
    answerer = ServerAnswerer(ServerSpec("vllm", "vllm"), replies, Budget(), seed=plan.seed, connection=replies)
    return ask_people(answerer, questionnaire, people, plan, system=system, room=Room(context))


class _Replies:
    """In the place of a server and its cache: without replies it notes what would be sent; with them it gives them back.

    A second look at the same options (another seed) gets the first one's reply: their rows go by what is asked, not by the seed.
    """

    def __init__(self, replies: Mapping[str, dict] | None) -> None:
        self.replies, self.wanted, self._lock = replies, {}, threading.Lock()

    def get(self, request: dict) -> dict:
        """The reply to a request. Raises Unanswered, with the reason, if there is none."""
        if "question" in request:
            return {"top": TOP[0]}
        body = {name: request[name] for name in request if name not in ("address", "model")}
        key = value_hash({name: body[name] for name in body if name != "seed" or "top_logprobs" not in body})
        if self.replies is None:
            with self._lock:
                self.wanted.setdefault(key, body)
            raise Unanswered(_LATER)
        if (reply := self.replies.get(key)) is None:
            raise Unanswered("vLLM gave no answer to this row")
        if reply.get("error"):
            raise Unanswered(f"vLLM: {reply['error']}")
        return reply

    def put(self, request: dict, reply: dict) -> None:
        """Nothing is kept here: shards are."""


# --- one row, as Ray's stages call it ------------------------------------------------------------------------------------------------------


@cache
def _tokenizer(source: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, trust_remote_code=False)


def to_vllm(row: dict, source: str) -> dict:
    """A row with the columns that vLLM's stage reads: sampling_params, and tokenized_prompt as a local model gets it.

    Ray's own stages for templates and tokens put the first token twice (Llama, Mistral, Gemma) and fail where a template takes no system message.
    """
    body = json.loads(row["body"])
    sampling = {name: body[name] for name in ("temperature", "top_p", "seed", "max_tokens")}
    if "top_logprobs" in body:
        sampling["logprobs"] = body["top_logprobs"]
    ids = sum(chat.encode_prompt(_tokenizer(source), body["messages"]), [])
    return {name: row[name] for name in ("block", "key", "of")} | {"tokenized_prompt": ids, "sampling_params": sampling}


def to_reply(row: dict) -> dict:
    """What vLLM's stage gave for a row, as a server's reply in JSON: text, finish, places. Ray hands rows that failed past it."""
    limit = json.loads(row["body"])["max_tokens"]  # vLLM's stage takes sampling_params out of the row
    reply = {"text": row["generated_text"], "finish": "length" if row["num_generated_tokens"] >= limit else "stop", "places": _places(row)}
    return {name: row[name] for name in ("block", "key", "of")} | {"reply": json.dumps(reply)}


def read_reply(row: dict) -> dict:
    """The reply of a row that left Ray's processor; {"error": why} for one that failed there."""
    if error := row.get("__inference_error__"):
        return {"error": str(error)[:200]}
    return json.loads(row["reply"])


def _places(row: dict) -> list | None:
    """[[token, its logprob, [[token, logprob], ...]], ...] of each token that was written; None without logprobs."""
    if row.get("logprobs") is None:
        return None
    places = []
    for token, listed in zip(row["generated_tokens"], row["logprobs"], strict=False):
        known = {int(one): [said["decoded_token"] or "", min(float(said["logprob"]), 0.0)] for one, said in listed.items() if said is not None}
        if int(token) in known:
            places.append([*known[int(token)], list(known.values())])
    return places
