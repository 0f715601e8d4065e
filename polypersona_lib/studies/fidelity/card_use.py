"""Where is the persona card lost? What a card is worth to the words of an answer, what of it is in the states that the answer begins from, and how much
attention goes to it. A model is asked, the untuned base and the tuned one alike."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ... import resampling
from ...config import RunConfig, device
from ...models.adapters import adapted_folder, load_for_inference
from ...models.loading import load_tokenizer
from ...models.published_adapters import find_adapter
from ...models.shared_prefix import answer_logits, decoder, pad
from ...paths import ROOT
from ...prompts import chat, token_view
from ...registry import get_spec
from ...systems import untuned
from .attribute_probes import FEWEST_WITH, card_labels, recover

OTHER_CARDS = ("stranger", "nobody")
MOST_PEOPLE, LAYERS = 120, 7  # people asked; layers looked at, the first and the last among them
_BATCH = 8


def card_rows(test: pd.DataFrame, *, seed: int, most: int = MOST_PEOPLE) -> pd.DataFrame:
    """One record a person, at most `most`, in a random order: columns of the records, and `other`, the card of the next person in that order."""
    rows = test.sample(frac=1, random_state=seed).drop_duplicates("persona_id").head(most).reset_index(drop=True)
    return rows.assign(other=np.roll(np.array(rows["persona"], dtype=object), -1))


def with_card(triplet: list[dict[str, str]], card: dict | str | None) -> list[dict[str, str]]:
    """The messages of a record with another card; None: nobody is described."""
    system, user, *answer = chat.without_persona(triplet)
    return [system, user if card is None else user | {"content": f"Persona: {chat.render_card(card)}\n{user['content']}"}, *answer]


def answer_nats(model, tokenizer, triplets: Sequence[list[dict[str, str]]]) -> np.ndarray:
    """How improbable each answer is after its prompt, in nats a token (end of the answer included), shape (triplets,). Nothing is generated."""
    import torch

    rows, costs = [chat.encode(tokenizer, triplet) for triplet in triplets], []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        with torch.no_grad():
            logits, targets = answer_logits(model, part, tokenizer.pad_token_id, shared=False)
            losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        costs += [float(own.double().mean()) for own in losses.split([len(row.answer) for row in part])]
    return np.array(costs)


def card_losses(model, tokenizer, rows: pd.DataFrame) -> pd.DataFrame:
    """`answer_nats` of each record's own answer after its own card, a stranger's and none: columns own, stranger, nobody; index persona_id."""
    cards = {"own": rows["persona"], "stranger": rows["other"], "nobody": [None] * len(rows)}
    changed = {name: [with_card(t, card) for t, card in zip(rows["messages"], own, strict=True)] for name, own in cards.items()}
    return pd.DataFrame({name: answer_nats(model, tokenizer, triplets) for name, triplets in changed.items()}, index=pd.Index(rows["persona_id"]))


def card_worth(losses: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """What one's own card is worth: index card; nats (a token, more with that card than with one's own), lo, hi (95 %, people resampled), n, own (nats)."""
    gains = losses[list(OTHER_CARDS)].sub(losses["own"], axis=0)
    return resampling.bootstrap_means(gains, seed=seed).rename(columns={"mean": "nats"}).rename_axis("card").assign(own=losses["own"].mean())


def states_and_attention(
    model, tokenizer, triplets: Sequence[list[dict[str, str]]], markers: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """What is in a model as it is about to answer, in layers 0 (the embedding) to the last.

    Returns: (states of the last token of the prompt, (layers + 1, rows, hidden); mean states of the card's tokens, the same shape; attention: index layer
        from 1, columns card (share of the last token's attention that goes to the card, mean of the heads and rows), even (the card's share of the tokens)).
        The first token is left out of both shares: heads that look for nothing look there (attention sink, Xiao et al. 2023).
    """
    import torch

    body, kind = decoder(model)[0], model.config._attn_implementation
    answers, cards, shares, even = [], [], [], []
    model.set_attn_implementation("eager")  # the only one that says where it looked
    try:
        for start in range(0, len(triplets), _BATCH):
            part = [chat.encode_prompt(tokenizer, triplet) for triplet in triplets[start : start + _BATCH]]
            ids, mask = (t.to(next(model.parameters()).device) for t in pad([a + b for a, b in part], tokenizer.pad_token_id))
            places = [[t.role == "persona" for t in token_view.prompt_tokens(tokenizer, triplet, markers)] for triplet in triplets[start : start + _BATCH]]
            on_card = pad([[int(p) for p in row] for row in places], 0)[0].to(ids.device).float()
            on_card[:, 0] = 0
            with torch.no_grad():
                out = body(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True, output_attentions=True)
            last, row = mask.sum(-1) - 1, torch.arange(len(part), device=ids.device)
            states = torch.stack(out.hidden_states).float()
            answers.append(states[:, row, last].cpu().numpy())
            cards.append((torch.einsum("lrth,rt->lrh", states, on_card) / on_card.sum(-1).clamp(min=1)[:, None]).cpu().numpy())
            looked = torch.stack([layer[row, :, last].float() for layer in out.attentions])  # layers, rows, heads, places
            looked = looked[..., 1:] / looked[..., 1:].sum(-1, keepdim=True).clamp(min=1e-9)
            shares.append(torch.einsum("lrht,rt->lrh", looked, on_card[:, 1:]).mean(-1).cpu().numpy())
            even.append((on_card.sum(-1) / last.clamp(min=1)).cpu().numpy())
    finally:
        model.set_attn_implementation(kind)
    attention = pd.DataFrame({"card": np.concatenate(shares, axis=1).mean(1), "even": float(np.concatenate(even).mean())})
    return np.concatenate(answers, axis=1), np.concatenate(cards, axis=1), attention.set_index(pd.RangeIndex(1, len(attention) + 1, name="layer"))


def card_layers(model, tokenizer, rows: pd.DataFrame, markers: tuple[str, ...] = (), *, seed: int) -> pd.DataFrame:
    """Up to `LAYERS` layers: index layer; at_card and at_answer (how well a linear probe reads the card's attributes from the card's own tokens and from the
    last token of the prompt: held-out AUC, mean over attributes; NaN with too few people), chance (95 % of permuted people lie below), card, even (attention).
    """
    answers, cards, attention = states_and_attention(model, tokenizer, rows["messages"].tolist(), markers)
    told = [card if isinstance(card, dict) else {} for card in rows["persona"]]  # a card in words has no attributes to be read
    labels, lines = card_labels(told, fewest=FEWEST_WITH), {}
    for layer in np.unique(np.linspace(0, len(answers) - 1, LAYERS).round().astype(int)):
        read = {"at_card": np.nan, "at_answer": np.nan, "chance": np.nan}
        for name, states in (("at_card", cards), ("at_answer", answers)) if labels.shape[1] else ():
            line = recover(states[layer].astype(float), labels, seed=seed, n_perm=100, n_boot=2).set_index("attribute").loc["all"]
            read |= {name: line["value"], "chance": line["floor_hi"]}
        lines[int(layer)] = read
    return pd.DataFrame(lines).T.rename_axis("layer").join(attention)


def card_use(run: RunConfig, key: str, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(`card_worth`, `card_layers`) of a model's untuned base and of the tuned model, with a column `system`.

    Args: key: a model of the run. test: its test records, with persona, persona_id and messages.
    Raises: FileNotFoundError without an adapter.
    """
    spec, scale, rows = get_spec(key), run.settings.scale, card_rows(test, seed=run.seed)
    adapter = find_adapter(key, [run.paths.results, ROOT / "results" / "shipped"])
    if adapter is None:
        raise FileNotFoundError(f"{run.paths.results / 'adapters' / key}: no adapter here; run notebook 03 first")
    tokenizer, worth, layers = load_tokenizer(spec, scale), [], []
    for system, own in ((untuned(key), None), (key, adapter)):
        model = load_for_inference(spec, scale, own, device=device(), folder=adapted_folder(run, spec))
        worth.append(card_worth(card_losses(model, tokenizer, rows), seed=run.seed).reset_index().assign(system=system))
        layers.append(card_layers(model, tokenizer, rows, spec.control, seed=run.seed).reset_index().assign(system=system))
    return pd.concat(worth, ignore_index=True), pd.concat(layers, ignore_index=True)
