"""The language models at every scale: finding and loading weights, quantization, where LoRA sits, answers in batches with shared prefixes, memory needs. It
reads model folders, the hub's cache and `data/models/`, and imports only `prompts`; training, scoring, studies, probe and runner call it.
"""
