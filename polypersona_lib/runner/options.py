"""The command line of the runner: profiles, models, options, and what `--help` says of them."""

import argparse
from pathlib import Path

from ..config import PROFILES
from ..models.answer_budget import add_limits
from ..registry import MODELS, REAL_MODELS
from ..systems import FILTER, absolute_folders

GUIDE = f"""\
profiles:
  smoke      two nano twins on 200 records: does everything work here? Minutes
  small      SmolLM2-135M, a real language model, by the paper's recipe: about two hours on 2 cores
  nano       all seven families as nano twins, and SmolLM2, all records: half an hour on 2 cores, no GPU
  ablations  what LoRA and 4 bits cost (notebook 07), one twin: 17 minutes
  sessions   the same personas asked again (notebook 11), after nano: half an hour
  bias       census people, cards from bare facts to narratives, SmolLM2 answers (notebooks 12, 13): half an hour; POLYPERSONA_MINUTES=60 asks more people
  paper      the hub models in 4 bits: hours, a 24 GB GPU and their weights

models:
  {", ".join(list(MODELS)[:4])},
  {", ".join(list(MODELS)[4:])};
  real models without a twin: {", ".join(REAL_MODELS)}

  path/to/folder: any other causal language model, as save_pretrained of model and tokenizer wrote it

  server:http://127.0.0.1:8000/v1#NAME: a model behind any OpenAI-compatible address, asked as it is beside
  the run's own models. Its key comes from POLYPERSONA_API_KEY (for api.openai.com also OPENAI_API_KEY)

what a run writes:
  results/<run>/report.html, tables/, scores/, notebooks/ (executed copies), and figures/<run>/

examples:
  ./run_all.sh smoke                              a first try
  ./run_all.sh nano --only 04 --force             notebook 04 once more, in a run that has got so far
  ./run_all.sh small --filter 4                   draws up to four answers a row, keeps the first that passes
  ./run_all.sh nano --split grouped               no persona in two splits; goes to results/nano-grouped
  ./run_all.sh nano --models phi-2 --out ~/phi    one family, beside the other results

other commands (the probe, scoring your own predictions, a pre-flight): python -m polypersona_lib --help
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line (see --help); exits with status 2 on a mistake."""
    about = "Rebuild every table and figure of the paper; only what has changed is run again."
    parser = argparse.ArgumentParser(prog="./run_all.sh", formatter_class=argparse.RawDescriptionHelpFormatter, description=about, epilog=GUIDE)
    parser.add_argument("profile", nargs="?", choices=tuple(PROFILES), help="see below; default: paper with a CUDA GPU, else nano")
    parser.add_argument("--from", dest="first", default="", metavar="NN", help="start at this notebook; the ones before it must have been run")
    parser.add_argument("--only", default="", metavar="NN", help="run this notebook only; the ones before it must have been run")
    parser.add_argument("--force", action="store_true", help="also run again what has not changed")
    parser.add_argument("--split", default="paper", choices=("paper", "grouped"), help="rows as in the paper, or no persona in two splits")
    parser.add_argument("--faults", default="stop", choices=("stop", "neutralise", "drop"), help="chat markers, leaks: stop, defuse, or drop rows")
    parser.add_argument("--data", default="", metavar="DIR", help="another data set instead of the embedded one")
    parser.add_argument("--out", default="", metavar="DIR", help="put results/ and figures/ here instead of the project folder")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="of everything that is drawn: people, answers, training (default 42)")
    parser.add_argument("--models", default="", metavar="A,B", help="only these models: keys, folders, servers (see below)")
    parser.add_argument("--filter", default="", metavar="K", help="the tuned models draw up to K answers a row and keep the first that passes (own rows)")
    add_limits(parser)
    own = "of real models: the GGUF file of their package, or the hub's pinned revision (other weights, other numbers, its own results folder)"
    parser.add_argument("--weights", default="own", choices=("own", "hub"), help=own)
    options = parser.parse_args(argv)
    for name in ("first", "only"):
        if getattr(options, name).isdigit():
            setattr(options, name, getattr(options, name).zfill(2))
    if options.first and options.only:
        parser.error("--from and --only exclude each other")
    options.models = _with_filter(absolute_folders(options.models), options.filter)
    try:
        options.data, options.out = (str(Path(text).expanduser().resolve()) if text else "" for text in (options.data, options.out))
        Path(options.data).exists(), Path(options.out).exists()
    except (OSError, RuntimeError) as error:  # too long, a circle of links, nobody of that name
        parser.error(f"--data {options.data!r}, --out {options.out!r}: cannot be a folder ({error})")
    if options.data and not Path(options.data).is_dir():
        parser.error(f"--data: {options.data} {'is a file, not a folder with train, val and test' if Path(options.data).exists() else 'does not exist'}")
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        parser.error(f"--out: {options.out} is a file, not a folder")
    return options


def _with_filter(models: str, count: str) -> str:
    """--filter as the entry of --models that the notebooks know it by."""
    return ",".join(filter(None, (models, FILTER + count.strip() if count.strip() else "")))
