"""One file a figure family: each `plot_*` draws plain data and returns (figure, axes)."""
