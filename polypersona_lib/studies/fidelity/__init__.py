"""Persona fidelity: what of a persona is in a model's answers."""
