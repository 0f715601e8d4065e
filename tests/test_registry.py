"""The seven families: their templates word for word, what is quantized and adapted, and the traps that would falsify the study in silence."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors

from polypersona_lib import paths, registry
from polypersona_lib.models import adapters, generation, loading, shared_prefix
from polypersona_lib.prompts import chat, token_view
from polypersona_lib.systems import system_label
from polypersona_lib.world import dataset
from polypersona_lib.world.paper import load_claims

FAMILIES = tuple(registry.MODELS)
TOY = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"}, {"role": "assistant", "content": "ANS"}]
R1 = "<｜begin▁of▁sentence｜>SYS<｜User｜>USR<｜Assistant｜>"
RENDERED = {  # prompt, and what training adds; R1's own template would open the prompt's end with <think>, which is cut
    "phi-2": ("<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nUSR<|im_end|>\n<|im_start|>assistant\n", "ANS<|im_end|>\n"),
    "mistral-7b": ("<s> [INST] SYS\n\nUSR [/INST]", " ANS</s>"),
    "deepseek-r1-distill-qwen-1.5b": (R1, "ANS<｜end▁of▁sentence｜>"),
    "qwen2-1.5b": ("<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nUSR<|im_end|>\n<|im_start|>assistant\n", "ANS<|im_end|>\n"),
    "qwen1.5-moe": ("<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nUSR<|im_end|>\n<|im_start|>assistant\n", "ANS<|im_end|>\n"),
    "llama-2-7b": ("<s>[INST] <<SYS>>\nSYS\n<</SYS>>\n\nUSR [/INST]", " ANS </s>"),
    "tinyllama-1.1b": ("<|system|>\nSYS</s>\n<|user|>\nUSR</s>\n<|assistant|>\n", "ANS</s>\n"),
}
# Source: configurations at the pinned revisions; LoRA of rank 16 on the family's targets. Phi-2: with fc1, fc2 and dense; the mixture: every expert.
COUNTED = {
    "phi-2": (2_779_683_840, 23_592_960), "mistral-7b": (7_241_732_096, 41_943_040), "deepseek-r1-distill-qwen-1.5b": (1_777_088_000, 18_464_768),
    "qwen2-1.5b": (1_543_714_304, 18_464_768), "qwen1.5-moe": (14_315_784_192, 254_017_536), "llama-2-7b": (6_738_415_616, 39_976_960),
    "tinyllama-1.1b": (1_100_048_384, 12_615_680),
}  # fmt: skip
OLD_MISTRAL = "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}" + (
    "{{ '[INST] ' + m['content'] + ' [/INST]' if m['role'] == 'user' else m['content'] + eos_token }}{% endfor %}"
)
NEW_MISTRAL = "{% set told = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}{{ bos_token }}{% for m in messages %}" + (
    "{% if m['role'] == 'user' %}{{ '[INST] ' + (told + '\n\n' if told and loop.last else '') + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def rows():
    return dataset.read_split(paths.DATASET / "paper", "test").head(6)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """(specification, tokenizer) of one family."""
    spec = registry.get_spec(request.param)
    return spec, loading.load_tokenizer(spec, "nano")


@pytest.mark.parametrize("key", FAMILIES)
def test_a_twins_label_says_its_own_size(key):
    head = safetensors.safe_open(paths.NANO_MODELS / key / "model.safetensors", framework="np")
    counted = sum(int(np.prod(head.get_slice(name).get_shape())) for name in head.keys())
    assert registry.get_spec(key).nano_millions == round(counted / 1e6, 1) and f"({counted / 1e6:.1f} M)" in system_label(key, "nano")


def test_there_are_the_seven_of_table_2_in_its_order():
    printed = load_claims().query("place == 'Table II' and test == 'score'")["subject"].drop_duplicates()
    assert list(registry.MODELS) == printed.tolist() and [s.order for s in registry.MODELS.values()] == list(range(1, 8))
    assert all(len(s.revision) == 40 and s.nano["hidden_size"] % 64 == 0 and s.nano["intermediate_size"] % 64 == 0 for s in registry.MODELS.values())
    with pytest.raises(ValueError, match="choose from phi-2"):
        registry.get_spec("gpt-5")


@pytest.mark.parametrize("key", FAMILIES)
def test_parameters_of_the_hub_models_to_the_last_one(key):
    spec = registry.get_spec(key)
    counted = loading.lora_share(spec, "paper", r=16)
    assert (counted["total"], counted["trainable"]) == COUNTED[key] == (spec.parameters, spec.trainable)


# --- templates -------------------------------------------------------------------------------------------------------------------


def test_templates_render_as_the_families_do(family):
    spec, tokenizer = family
    prompt, said = RENDERED[spec.key]
    assert chat.render(tokenizer, TOY[:2], add_generation_prompt=True) == prompt
    assert chat.render(tokenizer, TOY, add_generation_prompt=False) == prompt + said
    assert (tokenizer.chat_template is None) == (spec.template == "none")
    assert all(any(c in part for part in (prompt, said)) for c in spec.control)
    assert chat.answer_lead(tokenizer) == said.partition("ANS")[0]


def test_ids_give_the_text_back_with_one_start_and_one_stop(family, rows):
    spec, tokenizer = family
    for triplet in rows["messages"]:
        row = chat.encode(tokenizer, triplet)
        text = tokenizer.decode(row.ids)
        start = tokenizer.bos_token if tokenizer.bos_token and spec.template == "none" or spec.key == "tinyllama-1.1b" else ""
        full = chat.render(tokenizer, triplet, add_generation_prompt=False).rstrip("\n")
        assert text.removeprefix(start or "").startswith(full)
        assert row.ids.count(tokenizer.eos_token_id) - text.removeprefix(start or "").count(tokenizer.eos_token) <= 1
        if tokenizer.bos_token and tokenizer.bos_token != tokenizer.eos_token:
            assert row.ids.count(tokenizer.bos_token_id) == 1 and row.ids[0] == tokenizer.bos_token_id, "one start token"
        assert row.labels[-1] == tokenizer.eos_token_id, "the stop token is learned even where padding has the same id"
        assert tokenizer.decode(row.answer, skip_special_tokens=True).removesuffix("<|im_end|>").strip() == triplet[2]["content"]


@pytest.mark.parametrize("key", ["tinyllama-1.1b", "llama-2-7b", "mistral-7b"])
def test_parts_of_a_prompt_have_the_ids_that_the_whole_has_where_a_tokenizer_puts_a_space_first(key, rows):
    """The hub tokenizers of these families do so with every text they are given; their twins' do not."""
    from transformers import LlamaTokenizer

    letters = [chr(i) for i in range(33, 127)]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *letters, *(f"▁{c}" for c in letters)]
    tokenizer = LlamaTokenizer({piece: i for i, piece in enumerate(pieces)}, [("▁", c) for c in letters], pad_token="</s>")
    tokenizer.chat_template = registry.get_spec(key).chat_template
    for triplet in rows["messages"].head(5):
        whole = tokenizer(chat.render(tokenizer, triplet, add_generation_prompt=False).rstrip("\n"), add_special_tokens=False)["input_ids"]
        row = chat.encode(tokenizer, triplet)
        assert row.ids[row.ids[0] != whole[0] :] == whole and row.shared and row.rest
        shown = "".join(token.text for token in token_view.prompt_tokens(tokenizer, triplet))
        assert shown.endswith(chat.render(tokenizer, triplet[:2], add_generation_prompt=True))
        ((label,),) = generation._labels(tokenizer, [[triplet[2]["content"][:9]]], chat.answer_lead(tokenizer))
        assert row.answer[: len(label)] == label, "an option is scored by the tokens that an answer begins with"


@pytest.mark.parametrize("template", [OLD_MISTRAL, NEW_MISTRAL], ids=["refuses a system message", "drops it once an answer follows"])
def test_a_template_without_a_system_role_keeps_persona_and_instruction(template, rows):
    tokenizer = loading.load_tokenizer(registry.get_spec("mistral-7b"), "nano")
    tokenizer.chat_template = template
    assert not chat.keeps_system(tokenizer)
    triplet = rows["messages"].iloc[0]
    prompt, full = chat.render(tokenizer, triplet[:2], add_generation_prompt=True), chat.render(tokenizer, triplet, add_generation_prompt=False)
    assert full.startswith(prompt) and all(m["content"] in full for m in triplet) and chat.SYSTEM in prompt
    assert chat.encode(tokenizer, triplet).answer


def test_reasoning_is_cut_from_answers_and_seen():
    assert chat.clean_answer("<think>\nHe is old.\n</think>\n\nAgree. I do.") == "Agree. I do."
    assert chat.clean_answer("<think> and never an end") == "" and chat.clean_answer("as he says </think> Yes.") == "Yes."
    assert chat.has_reasoning("<think>x") and chat.has_reasoning("x</think>") and not chat.has_reasoning("I think so.")


# --- what is quantized, what is adapted ----------------------------------------------------------------------------------------------


def test_four_bits_hold_what_the_record_says(family):
    spec, _ = family
    model = adapters.add_lora(loading.load_base(spec, "nano"), spec, r=16, alpha=32, dropout=0.05, seed=1)
    found, counted = loading.quantization(model), loading.lora_share(spec, "nano", r=16)
    linear = sum(m.in_features * m.out_features for n, m in loading.empty_model(spec, "nano").named_modules() if n.rsplit(".", 1)[-1] in spec.lora_targets)
    assert found["four_bit"] == linear and found["four_bit"] + found["other"] == counted["total"]
    assert model.get_nb_trainable_parameters()[0] == counted["trainable"]
    tied = spec.nano["tie_word_embeddings"]
    big = {layer for layer, count in found["left"].items() if count > 4000}
    assert big == {"embed_tokens"} if tied else big == {"embed_tokens", "lm_head"}


def test_experts_apart_compute_what_they_compute_together():
    import torch

    spec = registry.get_spec("qwen1.5-moe")
    model = loading.load_base(spec, "nano", four_bit=False)
    ids = torch.arange(40).reshape(2, 20) + 300
    assert not list(loading.fused_experts(model)), "load_base takes them apart"
    with torch.no_grad():
        apart = model(input_ids=ids).logits
        assert len(list(loading.fused_experts(loading.fuse_experts(model)))) == spec.nano["num_hidden_layers"]
        together = model(input_ids=ids).logits
        assert loading.separate_experts(model) == spec.nano["num_hidden_layers"] * spec.nano["num_experts"]
        again = model(input_ids=ids).logits
    assert torch.allclose(apart, together, atol=1e-4) and torch.equal(apart, again)


def test_every_routed_expert_is_used(rows):
    """A router that had collapsed would make the mixture a dense model in disguise."""
    import torch

    spec = registry.get_spec("qwen1.5-moe")
    model, tokenizer = loading.load_base(spec, "nano", four_bit=False), loading.load_tokenizer(spec, "nano")
    seen = torch.zeros(spec.nano["num_hidden_layers"], spec.nano["num_experts"])
    for number, layer in enumerate(model.model.layers):

        def count(module, inputs, out, number=number):
            seen[number] += torch.bincount(out[2].flatten(), minlength=seen.shape[1])

        layer.mlp.gate.register_forward_hook(count)
    with torch.no_grad():
        for triplet in rows["messages"]:
            model(input_ids=torch.tensor([chat.encode(tokenizer, triplet).ids]))
    assert (seen.sum(1) > 0).all() and ((seen / seen.sum(1, keepdim=True)) > 0.005).float().mean() > 0.8


def test_mistrals_window_hides_what_lies_64_tokens_back_with_and_without_shared_prefixes():
    import torch

    spec = registry.get_spec("mistral-7b")
    model = loading.load_base(spec, "nano", four_bit=False)
    assert model.config.sliding_window == 64
    model.model.layers = model.model.layers[:1]  # several layers hand on what each can see
    model.config.num_hidden_layers = 1
    plain, changed = list(range(300, 400)), [999, *range(301, 400)]
    with torch.no_grad():
        whole = [model.model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in (plain, changed)]
        differs = (whole[0] - whole[1]).abs().amax(-1) > 1e-6
        assert differs[:64].all() and not differs[64:].any()
        cache, mask = shared_prefix.run_prefixes(model, [plain[:30], changed[5:30]], 0)  # the second one is padded
        states, _, _, _ = shared_prefix.run_rows(model, cache, mask, [0, 1], [plain[30:], plain[30:]], 0)
    assert torch.allclose(states[0], whole[0][30:], atol=1e-5)


def test_the_record_of_a_twin_can_be_written_as_json():
    spec = registry.get_spec("phi-2")
    assert json.loads(json.dumps({k: v for k, v in vars(spec).items()}, default=list))["hub_id"] == spec.hub_id
