"""What this project costs beside what people would use instead: one row a kind of work, `python -m benchmarks --help` lists them.

`measuring` holds what all rows share (passes in turn, gates, tokens, the machine), `rows` names them, `figure` draws a result file. The other modules build
the rows: both sides get the same inputs, and a row whose results differ has no ratio. `full_size` is older and stands alone: memory and speed on a GPU.
Nothing in `polypersona_lib/` imports this folder.
"""
