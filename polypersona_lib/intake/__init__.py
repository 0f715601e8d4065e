"""What users bring. Reads files of records, personas or predictions and gives checked rows, or one `InputError` that lists file, line and field. It believes
nothing in a file, writes nothing, and imports only `prompts` and `world`; `score`, `survey` and, for a foreign data set, `world.splits` call it.
"""
