"""What users bring. Reads files of records, personas, predictions, questionnaires or people and gives checked rows and the one shape of surveys
(`survey_format`), or one `InputError` that lists file, line and field. It believes nothing in a file, writes nothing, and imports only `prompts`, `world` and
`scoring`; `ask`, `score`, `survey` and, for a foreign data set, `world.splits` call it.
"""
