"""The base models at both scales: loading, quantization, LoRA placement, batched generation, memory needs."""
