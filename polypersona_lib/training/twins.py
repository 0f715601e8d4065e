"""Builds the nano twins: one tokenizer, and for every family a base model of about 1.7 M parameters that runs anywhere.

    python -m polypersona_lib nano [--models a,b] [--steps 3000] [--out data/models]

A twin has its family's architecture class, biases, norms, rotary fraction and chat template, but not its knowledge; what it reads instead is
told in `twin_texts`. About twenty minutes for two twins on 2 CPU cores; one process and one thread a family, so that the bytes do not depend on
the number of cores.
"""

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from .. import paths
from ..files import sha256
from ..models.loading import fuse_experts, separate_experts
from ..progress import track
from ..prompts import chat
from ..registry import MODELS, ModelSpec, get_spec
from ..world.questions import DOMAINS, load_questions
from ..world.simulation import simulate_records
from .model_cards import twin_card
from .trainer import full_updates
from .twin_texts import IGNORED, TWIN_SEED, Interview, Text, Writer, interviews, longest_overlap

STEPS, SEQUENCES, NOTES = 3000, 5, 40  # a step: 5 packed sequences, and later 40 notes
TOGETHER = 10  # texts that go through the model in one batch: a step's notes in order of length, or a third of it would be padding
NOTES_FROM = 0.55  # share of the steps after which notes join: which kind of person says what was learnt only from short texts, while the learning rate fell
NANO_VOCAB = 3576  # leaves room for a family's special tokens below the embedding's 3,584 rows
TOKENIZER_RESPONDENTS = 2400


def train_tokenizer(talks: list[Interview], vocab_size: int):
    """A byte-level BPE trained on answers, prompts and role markers; special tokens come with the family. Returns a `tokenizers.Tokenizer`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    words = r"<\|\w+\|>|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in (r"<\|\w+\|>", words)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    questions, texts = list(load_questions().values()), []
    for i, (card, talk) in enumerate(talks[:TOKENIZER_RESPONDENTS]):
        q = questions[i % len(questions)]
        triplet = chat.messages(card, DOMAINS[q.domain], q.text, q.options, "")
        roles = ("".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in triplet), "".join(f"<|{m['role']}|>\n{m['content']}" for m in triplet))
        texts += [*roles, *roles] + ([answer.text for _, answer in talk] if i < 700 else [])
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def dress(core, spec: ModelSpec):
    """The shared tokenizer in one family's clothes: its special tokens and its chat template."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(core.to_str()), model_max_length=spec.nano["max_position_embeddings"], **spec.tokens
    )
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in spec.markers])
    tokenizer.chat_template = spec.chat_template
    if len(tokenizer) > spec.nano["vocab_size"]:
        raise ValueError(f"{spec.key}: {len(tokenizer)} tokens do not fit an embedding of {spec.nano['vocab_size']}")
    return tokenizer


def new_model(spec: ModelSpec):
    """A freshly initialised twin (float32) of the family's own architecture class, experts taken apart."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(TWIN_SEED)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(spec.architecture, **spec.nano), attn_implementation="sdpa").float()
    separate_experts(model)
    return model


def text_loss(model, texts: list[Text]):
    """Mean cross-entropy of the labelled tokens (nats), the LM head computed there alone; texts of like length go through the model together."""
    import torch
    import torch.nn.functional as F

    from ..models.shared_prefix import pad

    texts, total, count = sorted(texts, key=lambda text: len(text[0])), 0.0, 0
    for k in range(0, len(texts), TOGETHER):
        ids, mask = pad([t[0] for t in texts[k : k + TOGETHER]], 0)
        labels = torch.where(mask.bool(), pad([t[1] for t in texts[k : k + TOGETHER]], IGNORED)[0], IGNORED)[:, 1:]
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        total = total + F.cross_entropy(model.lm_head(hidden[labels != IGNORED]), labels[labels != IGNORED], reduction="sum")
        count += int((labels != IGNORED).sum())
    return total / count


def pretrain(model, tokenizer, talks: list[Interview], chats: list[Interview], *, steps: int, label: str) -> dict[str, float]:
    """Train on packed text and notes; the last fortieth of the respondents is held out. Returns losses (nats a token) and the number of tokens seen."""
    import torch

    torch.manual_seed(TWIN_SEED)
    writer, cut = Writer(tokenizer), len(talks) - len(talks) // 40
    sequences = writer.sequences(talks[:cut], chats[:cut], random.Random(f"sequences|{TWIN_SEED}"))
    notes = writer.notes(talks[:cut], random.Random(f"notes|{TWIN_SEED}"))
    update = full_updates(model, steps)
    losses, tokens = [], 0
    model.train()
    for step in track(range(steps), label):
        batch, jotted = list(islice(sequences, SEQUENCES)), list(islice(notes, NOTES)) if step >= NOTES_FROM * steps else []
        loss = text_loss(model, batch)
        (loss + text_loss(model, jotted) if jotted else loss).backward()
        update()
        losses.append(loss.item())
        tokens += sum(len(ids) for ids, _ in batch + jotted)
    model.eval()
    with torch.no_grad():
        packed = list(islice(writer.sequences(talks[cut:], chats[cut:], random.Random("held out")), 32))
        jotted = list(islice(writer.notes(talks[cut:], random.Random("held out")), 512))
        after = [sum(text_loss(model, texts[k : k + 32]).item() for k in range(0, len(texts), 32)) / (len(texts) / 32) for texts in (packed, jotted)]
    return {
        "first_loss": round(losses[0], 3), "last_loss": round(sum(losses[-20:]) / len(losses[-20:]), 3), "held_out_loss": round(after[0], 3),
        "note_loss": round(after[1], 3), "tokens": tokens,
    }  # fmt: skip


def write_twin(model, tokenizer, spec: ModelSpec, folder: Path, facts: dict) -> None:
    """Save weights (bf16 safetensors), tokenizer, card and hashes."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    fuse_experts(model).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(twin_card(spec, facts), encoding="utf-8")
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != "hashes.json")
    hashes = {n: sha256((folder / n).read_bytes()) for n in names}
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


def build_one(key: str, core: str, talks: list[Interview], chats: list[Interview], steps: int, out: Path, overlap: tuple[int, str, float]) -> str:
    """Build, train and write one twin. Returns a line that says how it went."""
    import torch
    from tokenizers import Tokenizer

    torch.set_num_threads(1)
    spec = get_spec(key)
    tokenizer, model = dress(Tokenizer.from_str(core), spec), new_model(spec)
    facts = pretrain(model, tokenizer, talks, chats, steps=steps, label=f"pre-training {key}")
    facts |= {"parameters": sum(p.numel() for p in model.parameters()), "respondents": len(talks) + len(chats), "seed": TWIN_SEED}
    write_twin(model, tokenizer, spec, out / key, facts | {"overlap_words": overlap[0], "overlap_whole": overlap[2]})
    return f"{key}: {facts}"


def _build(keys: list[str], out: Path, steps: int) -> None:
    """Build tokenizer and base weights of the given families side by side, and print how each one went."""
    data = simulate_records(42)
    talks, chats = (interviews(set(data["reference"]), described=described) for described in (True, False))
    core = train_tokenizer(talks, NANO_VOCAB).to_str()
    overlap = longest_overlap(talks + chats, data.loc[(data["paper"] == "test") | (data["grouped"] == "test"), "reference"].tolist())
    print(f"test answers share at most {overlap[0]} words in a row with the pre-training text ({overlap[1]!r}); {overlap[2]:.1%} occur there whole", flush=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for line in pool.map(build_one, keys, *([x] * len(keys) for x in (core, talks, chats, steps, out, overlap))):
            print(line, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib nano", description="Rebuild the nano twins.")
    parser.add_argument("--models", default=",".join(MODELS), help=f"comma-separated keys (default: all of {', '.join(MODELS)})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps a twin (default {STEPS:,}, about 3,200 tokens each)")
    parser.add_argument("--out", type=Path, default=paths.NANO_MODELS, help="folder that gets a folder a twin (default: the shipped ones are replaced)")
    arguments = parser.parse_args(argv)
    keys = arguments.models.split(",")
    if unknown := [key for key in keys if key not in MODELS]:
        parser.error(f"--models: unknown {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    if arguments.steps < 1:
        parser.error(f"--steps must be 1 or more, not {arguments.steps}")
    _build(keys, arguments.out, arguments.steps)
    return 0
