"""One module a family of figures: each `plot_*` takes plain data and returns figure and axes; style, colours and saving are shared. It reads no run;
notebooks and the probe call it.
"""
