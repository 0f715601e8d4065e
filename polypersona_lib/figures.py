"""The figures, one door: each `plot_*` draws plain data and returns (figure, axes); it never saves. `save` writes PNG and PDF.

Every function takes `note`, the grey line that names what drew the figure: `run_note(run)`.
"""

from .ablation_figures import plot_gains, plot_left_out, plot_memory
from .consistency_figures import plot_card_worth, plot_consistency
from .data_figures import plot_cramers_v, plot_domain_counts, plot_lengths, plot_persona_clusters, plot_question_types, plot_reuse
from .distribution_figures import plot_alignment, plot_group_gaps
from .fidelity_figures import plot_attributes, plot_fidelity
from .figure_style import run_note, save
from .lesson_figures import plot_directions, plot_levels, plot_mask
from .lora_diagram import plot_lora_diagram
from .map_figure import plot_map
from .score_figures import plot_bleu, plot_calibration, plot_ladder, plot_training

__all__ = [
    "plot_alignment", "plot_attributes", "plot_bleu", "plot_calibration", "plot_card_worth", "plot_consistency", "plot_cramers_v",
    "plot_directions", "plot_domain_counts", "plot_fidelity", "plot_gains", "plot_group_gaps", "plot_ladder", "plot_left_out", "plot_lengths",
    "plot_levels", "plot_lora_diagram", "plot_map", "plot_mask", "plot_memory", "plot_persona_clusters", "plot_question_types", "plot_reuse",
    "plot_training",
    "run_note", "save",
]  # fmt: skip
