"""From answers to numbers: text metrics, the sentence encoder, stances, the swap control, scores of whole sets, persona fidelity, and a diagnosis of answers
that are no good. It reads predictions and run files; nearly every room above calls it, and it imports only `prompts`, `world` and `models`.
"""
