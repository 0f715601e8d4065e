"""A twin of the Llama architecture as a GGUF file, written with the `gguf` package as llama.cpp would lay it out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp keeps the two halves of a rotary pair side by side."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(twin: Path, file: Path) -> Path:
    """Write the twin of folder `twin` (float32, byte-level BPE tokenizer, chat template) into `file`."""
    from gguf import GGUFWriter, TokenType
    from safetensors.torch import load_file

    config, tokenizer = (json.loads((twin / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer.json"))
    weights = {name: tensor.float().numpy() for name, tensor in load_file(twin / "model.safetensors").items()}
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = GGUFWriter(str(file), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    ids = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    words = {number: word for word, number in ids.items()}
    tokens = [words.get(number, f"<unused{number}>") for number in range(config["vocab_size"])]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word in tokens])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in tokenizer["model"]["merges"]])
    for name, word in {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "</s>"}.items():
        getattr(writer, f"add_{name}_token_id")(ids[word])
    writer.add_chat_template((twin / "chat_template.jinja").read_text(encoding="utf-8"))
    for name, weight in weights.items():
        place = name.removeprefix("model.").removesuffix(".weight")
        if place.startswith("layers."):
            _, number, part = place.split(".", 2)
            weight = _permuted(weight, {"attn_q": heads, "attn_k": kv_heads}[NAMES[part]]) if NAMES[part] in ("attn_q", "attn_k") else weight
            place = f"blk.{number}.{NAMES[part]}"
        place = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}.get(place, place)
        writer.add_tensor(f"{place}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
