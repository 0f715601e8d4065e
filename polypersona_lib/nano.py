"""Builds the nano twins: one tokenizer, and for every family a base model of about 1.7 M parameters that runs anywhere.

    python -m polypersona_lib.nano [--models a,b] [--steps 1000] [--out data/models]

A twin has its family's architecture class, biases, norms, rotary fraction and chat template, but not its knowledge. Bases see two
kinds of text by respondents outside the 433, a fifth of the phrase patterns held out, and never a persona card: chats in which a
question is answered without any persona, and plain interviews in which one person introduces himself in prose and answers three
questions. So a base can write answers and knows that people hang together; to answer *as the card in the prompt* is left to LoRA.
About 6-9 minutes a twin on 2 CPU cores; identical bytes when repeated on the same machine with the same number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from pathlib import Path

from . import chat, paths, personas
from .models import MODELS, ModelSpec, get_spec
from .prefix import pad
from .progress import track
from .question_bank import DOMAINS, load_questions
from .respondents import Speaker, held_out_patterns
from .training import answer_loss

SEED = 20251216
PRETRAIN_RESPONDENTS = 2400
ITEMS_EACH = 28
STEPS, PEAK_LR = 900, 4e-3
CHATS, INTERVIEWS = (8, 8), 10  # a chat step: 8 questions x 8 answers; an interview step: 10 interviews
VALIDATION = 200
TINYLLAMA_TEMPLATE = (
    "{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + m['content'] + eos_token }}\n"
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
FAMILY_TOKENS = {  # special tokens and template each family's tokenizer wears
    "phi-2": ({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}, None),
    "tinyllama-1.1b": ({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}, TINYLLAMA_TEMPLATE),
}


def outside_respondents(count: int = PRETRAIN_RESPONDENTS) -> list[dict]:
    """Respondents that are in no data set: drawn with their own seed, cards never shown to the base models."""
    rng = random.Random(f"nano|{SEED}")
    return [{"persona_id": f"n{i:04d}"} | personas.draw_persona(rng) for i in range(count)]


def interviews(count: int = PRETRAIN_RESPONDENTS) -> list[list[tuple]]:
    """One interview a respondent: a list of (question, answer text). No card, no held-out pattern."""
    questions, speaker, rng = list(load_questions().values()), Speaker(held_out=held_out_patterns()), random.Random(f"interviews|{SEED}")
    return [
        [(q, speaker.answer(card, q, seed=SEED).text) for q in rng.sample(questions, ITEMS_EACH)]
        for card in track(outside_respondents(count), "writing pre-training text")
    ]


def train_tokenizer(talks: list[list[tuple]], vocab_size: int):
    """A byte-level BPE trained on answers, prompts and role markers; special tokens come with the family. Returns a `tokenizers.Tokenizer`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    words = r"<\|\w+\|>|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in (r"<\|\w+\|>", words)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    questions, texts = list(load_questions().values()), []
    for i, (card, talk) in enumerate(zip(outside_respondents(len(talks)), talks, strict=True)):
        q = questions[i % len(questions)]
        triplet = chat.messages(card, DOMAINS[q.domain][0], q.text, q.options, "")
        roles = ("".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in triplet), "".join(f"<|{m['role']}|>\n{m['content']}" for m in triplet))
        texts += [*roles, *roles] + ([answer for _, answer in talk] if i < 700 else [])
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def dress(core, spec: ModelSpec):
    """The shared tokenizer in one family's clothes: its special tokens and its chat template."""
    from transformers import PreTrainedTokenizerFast

    special, template = FAMILY_TOKENS[spec.key]
    from tokenizers import Tokenizer

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(core.to_str()), model_max_length=spec.nano["max_position_embeddings"], **special)
    tokenizer.chat_template = template
    if len(tokenizer) > spec.nano["vocab_size"]:
        raise ValueError(f"{spec.key}: {len(tokenizer)} tokens do not fit an embedding of {spec.nano['vocab_size']}")
    return tokenizer


def new_model(spec: ModelSpec):
    """A freshly initialised twin (float32) of the family's own architecture class."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(SEED)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(spec.architecture, **spec.nano), attn_implementation="sdpa").float()


def introduction(card: dict, rng: random.Random) -> str:
    """How a respondent would introduce himself in an interview: first-person prose with some of what is true of him, in random order."""
    words = personas.slots(card, rng)
    said = [
        rng.choice((f"I am {words['age']} and work as {words['a_job']}.", f"They know me here as {words['a_job']}, {words['age']} this year.")),
        rng.choice((f"Home is {words['region']}, in {words['area']}.", f"You find me in {words['area']}, out in {words['region']}.")),
        rng.choice((f"Friends call me {words['trait']} and {words['trait2']}.", f"By nature I tend to be {words['trait']}, and {words['trait2']} too.")),
        rng.choice((f"What counts for me is {words['value']}, then {words['value2']}.", f"I was raised on {words['value']} and {words['value2']}.")),
        rng.choice((f"Free hours go to {words['interest']} and {words['interest2']}.", f"Ask me about {words['interest']}, or {words['interest2']}.")),
        rng.choice((f"We get by on {words['budget']}.", f"There is {words['budget']} to live on.")),
        f"Most evenings are spent with {words['family']}.",
    ]
    rng.shuffle(said)
    return " ".join(said)


def chat_rows(talks: list[list[tuple]], tokenizer) -> dict[str, list[chat.Encoded]]:
    """Question id -> its chats: the question in the family's template, no persona, and an answer. All but the last prompt token is shared."""
    rows: dict[str, list[chat.Encoded]] = {}
    for talk in talks:
        for q, answer in talk:
            user = chat.user_text("", DOMAINS[q.domain][0], q.text, q.options).split("\n", 1)[1]
            row = chat.encode(tokenizer, [{"role": "system", "content": chat.SYSTEM}, {"role": "user", "content": user}, {"role": "assistant", "content": answer}])
            prompt = row.shared + row.rest
            rows.setdefault(q.id, []).append(chat.Encoded(prompt[:-1], prompt[-1:], row.answer))
    return rows


def interview_ids(talks: list[list[tuple]], tokenizer) -> list[list[int]]:
    """Token ids of plain interviews: an introduction in prose and three questions with answers, all by one respondent."""
    rng, documents = random.Random(f"introductions|{SEED}"), []
    for card, talk in zip(outside_respondents(len(talks)), talks, strict=True):
        for start in range(0, len(talk) - 2, 3):
            parts = [f"Interview.\n{introduction(card, rng)}"] + [f"Question: {q.text}\nAnswer: {answer}" for q, answer in talk[start : start + 3]]
            documents.append(tokenizer("\n\n".join(parts), add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id])
    return documents


def pretrain(model, chats: dict[str, list[chat.Encoded]], talks: list[list[int]], pad_id: int, *, steps: int, label: str) -> dict:
    """Alternate chat steps (loss on answers) and interview steps (loss on everything). Returns losses in nats per token and tokens seen."""
    import torch

    torch.manual_seed(SEED)
    rng = random.Random(f"order|{SEED}")
    held, talks = {q: rows[:3] for q, rows in chats.items()}, talks[VALIDATION:]
    chats = {q: rows[3:] for q, rows in chats.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.06, cycle_momentum=False)
    losses, tokens = [], 0
    model.train()
    with track(steps, label) as bar:
        for step in range(steps):
            if step % 2 == 0:
                batch = [row for q in rng.sample(sorted(chats), CHATS[0]) for row in rng.sample(chats[q], CHATS[1])]
                loss = answer_loss(model, batch, pad_id, shared=True)
                tokens += sum(len(r.ids) for r in batch)
                losses.append(loss.item())
            else:
                ids, mask = pad(rng.sample(talks, INTERVIEWS), pad_id)
                loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
                tokens += int(mask.sum())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update(note=f"loss {loss.item():.2f}")
            if step % 50 < 2:
                print(label, step, round(loss.item(), 3), flush=True)
    model.eval()
    with torch.no_grad():
        held_out = answer_loss(model, [row for rows in held.values() for row in rows], pad_id, shared=True).item()
    return {"first_loss": round(losses[0], 4), "last_loss": round(sum(losses[-20:]) / 20, 4), "held_out_loss": round(held_out, 4), "tokens": tokens}


def write_twin(model, tokenizer, spec: ModelSpec, folder: Path, facts: dict) -> None:
    """Save weights (bf16 safetensors), tokenizer, card and hashes."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(CARD.format(spec=spec, **facts), encoding="utf-8")
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != "hashes.json")
    hashes = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


CARD = """---
license: apache-2.0
tags: [nano-twin, survey-simulation]
---
# Nano twin of {spec.display} ({spec.key})

The architecture of `{spec.hub_id}` (`{spec.architecture}` in `transformers`) at {parameters:,} parameters, with its chat template and control
strings, and none of its knowledge. It exists so that the companion's one code path can be checked anywhere; its numbers say nothing about
the real model.

- Pre-trained on {tokens:,} tokens by {respondents:,} simulated respondents who are in no data set of the project: chats without any persona, and plain
  interviews with an introduction in prose. It never saw a persona card; a fifth of the phrase patterns was held out.
- Loss on answers, nats a token: first {first_loss}, last {last_loss}, held out {held_out_loss}.
- Built by `python -m polypersona_lib.nano` (seed {seed}); weights bf16 safetensors, hashes in `hashes.json`.
- Not for any use outside this project: it can only produce survey-like sentences.
"""


def build(keys: list[str], out: Path, steps: int) -> None:
    """Build tokenizer and base weights of the given families."""
    talks = interviews()
    core = train_tokenizer(talks, NANO_VOCAB)
    for key in keys:
        spec = get_spec(key)
        tokenizer, model = dress(core, spec), new_model(spec)
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        found = pretrain(model, chat_rows(talks, tokenizer), interview_ids(talks, tokenizer), pad_id, steps=steps, label=f"pre-training {key}")
        facts = found | {"parameters": sum(p.numel() for p in model.parameters()), "respondents": len(talks), "seed": SEED}
        print(key, facts, flush=True)
        write_twin(model, tokenizer, spec, out / key, facts)


NANO_VOCAB = 3576  # leaves room for a family's special tokens below the embedding's 3,584 rows


def main(argv: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib.nano", description="Rebuild the nano twins.")
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated keys")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"pre-training steps (default {STEPS})")
    parser.add_argument("--out", type=Path, default=paths.NANO_MODELS)
    arguments = parser.parse_args(argv)
    build(arguments.models.split(","), arguments.out, arguments.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
