"""Builds the nano twins: one tokenizer, and for every family a base model of about 1.6 M parameters that runs anywhere.

    python -m polypersona_lib.nano [--models a,b] [--tokens 5000000] [--out data/models]

A twin has its family's architecture class, biases, norms, rotary fraction and chat template, but not its knowledge. Bases are
pre-trained on persona-free text: answers of respondents outside the 433, without their cards, a fifth of the phrase patterns
held out. What is left for LoRA to learn is exactly what the paper is about: to answer *as the persona in the prompt*.
About 8-10 minutes a twin on 2 CPU cores; identical bytes when repeated on the same machine.
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
from .progress import track
from .question_bank import DOMAINS, load_questions
from .respondents import Speaker, held_out_patterns

SEED = 20251216
PRETRAIN_RESPONDENTS = 2400
ITEMS_EACH = 28
SEQUENCE, BATCH, PEAK_LR = 256, 16, 4e-3
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


def documents(talks: list[list[tuple]], tokenizer) -> list[list[int]]:
    """Token ids of the pre-training documents: half of them chats in the family's template without a persona, half plain interviews."""
    documents = []
    for i, talk in enumerate(talks):
        for start in range(0, len(talk), 4):
            part = talk[start : start + 4]
            if (i + start // 4) % 2:
                text = "\n\n".join(f"Question: {q.text}\nAnswer: {answer}" for q, answer in part)
                documents.append(tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id])
                continue
            for q, answer in part:
                user = chat.user_text("", DOMAINS[q.domain][0], q.text, q.options).split("\n", 1)[1]
                row = chat.encode(
                    tokenizer, [{"role": "system", "content": chat.SYSTEM}, {"role": "user", "content": user}, {"role": "assistant", "content": answer}]
                )
                documents.append(row.ids)
    return documents


def pretrain(model, ids, *, steps: int, label: str) -> dict[str, float]:
    """Next-token training over packed sequences `ids` (n, SEQUENCE); the last 2 % are held out. Returns first, last and held-out loss."""
    import torch

    torch.manual_seed(SEED)
    held = max(1, len(ids) // 50)
    train, test = ids[:-held], ids[-held:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.06, cycle_momentum=False)
    order = torch.cat([torch.randperm(len(train)) for _ in range(steps * BATCH // len(train) + 1)])
    losses = []
    model.train()
    for step in track(range(steps), label):
        batch = train[order[step * BATCH : (step + 1) * BATCH]]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        held_out = sum(model(input_ids=b, labels=b).loss.item() for b in test.split(BATCH)) / len(test.split(BATCH))
    return {"first_loss": round(losses[0], 4), "last_loss": round(sum(losses[-20:]) / 20, 4), "held_out_loss": round(held_out, 4)}


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

- Pre-trained on {tokens:,} tokens ({text_tokens:,} distinct) of answers by {respondents} simulated respondents who are in no data set of
  the project, without their persona cards; a fifth of the phrase patterns was held out.
- Loss: first {first_loss}, last {last_loss}, held out {held_out_loss}.
- Built by `python -m polypersona_lib.nano` (seed {seed}); weights bf16 safetensors, hashes in `hashes.json`.
- Not for any use outside this project: it can only produce survey-like sentences.
"""


def build(keys: list[str], out: Path, tokens: int) -> None:
    """Build tokenizer and base weights of the given families and print what each one says."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads()))
    talks = interviews()
    core = train_tokenizer(talks, NANO_VOCAB)
    for key in keys:
        spec = get_spec(key)
        tokenizer, model = dress(core, spec), new_model(spec)
        stream = [t for document in _shuffled(documents(talks, tokenizer)) for t in document]
        ids = torch.tensor(stream[: len(stream) // SEQUENCE * SEQUENCE]).view(-1, SEQUENCE)
        losses = pretrain(model, ids, steps=tokens // (SEQUENCE * BATCH), label=f"pre-training {key}")
        parameters = sum(p.numel() for p in model.parameters())
        facts = losses | {"parameters": parameters, "tokens": tokens, "text_tokens": ids.numel(), "respondents": len(talks), "seed": SEED}
        print(key, facts, flush=True)
        write_twin(model, tokenizer, spec, out / key, facts)


def _shuffled(items: list) -> list:
    random.Random(f"order|{SEED}").shuffle(items)
    return items


NANO_VOCAB = 3576  # leaves room for a family's special tokens below the embedding's 3,584 rows


def main(argv: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib.nano", description="Rebuild the nano twins.")
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated keys")
    parser.add_argument("--tokens", type=int, default=5_000_000, help="pre-training tokens a twin (default 5,000,000)")
    parser.add_argument("--out", type=Path, default=paths.NANO_MODELS)
    arguments = parser.parse_args(argv)
    build(arguments.models.split(","), arguments.out, arguments.tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
