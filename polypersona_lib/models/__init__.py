"""The language models at every scale: finding and loading weights, quantization, where LoRA sits, answers in batches with shared prefixes, memory needs;
and whoever answers (this process, a server, a table) behind one interface, with its cache, budget and gates. It
reads model folders, the hub's cache and `data/models/`, and imports only `prompts`; training, scoring, studies, probe and runner call it.
"""
