"""`drift --baseline FILE`: ask a model the probes and compare with the baseline. Exit status 0 the same, 1 drift, 2 no comparison (one line says why)."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from ...config import device
from ...errors import InputError, exit_status, one_line, quoted
from ...files import file_hash, value_hash
from ...models.answerers import Answerer
from ...models.published_adapters import ADAPTER_FILE, find_adapter
from ...models.weights import Unavailable, weights_identity
from ...prompts import chat
from ...registry import PAPER_TARGETS, GgufFile, ModelSpec, get_spec, is_model
from ...systems import is_untuned, model_of
from .baseline import Baseline, answers_path, read_baseline, write_baseline
from .monitor import MOST_MISSING, compare, report_lines
from .probe_set import ask_probes, probe_hash

Opened = tuple[Answerer, Callable[[], dict[str, str]]]


def opened(entry: str, folder: Path) -> Opened:
    """(the answerer that `--models` names, its fingerprint once it has answered). Replies of servers are kept in `folder` alone: an old reply proves nothing.

    Raises InputError for what is no model, or one that cannot be loaded.
    """
    try:
        return _server(entry, folder) if entry.startswith("server:") else _local(entry)
    except (OSError, ValueError, Unavailable) as error:
        raise InputError(f"--models {quoted(entry, 80)}: {one_line(error)}") from None


def _local(entry: str) -> Opened:
    from ...models.adapters import load_for_inference
    from ...models.answerers import LocalAnswerer
    from ...models.loading import load_tokenizer

    spec, adapter = _spec(entry)
    tokenizer, model = load_tokenizer(spec, "nano"), load_for_inference(spec, "nano", adapter, device=device())
    weights = weights_identity(spec, "nano") + (f" + adapter {file_hash(adapter / ADAPTER_FILE)}" if adapter else "")
    engine = f"transformers {version('transformers')}, torch {version('torch')}, {next(model.parameters()).dtype}, {device()}".replace("torch.", "")
    vocabulary = value_hash([sorted(tokenizer.get_vocab().items()), sorted(map(str, tokenizer.all_special_tokens))])[:16]
    told = {"weights": weights, "template": chat.template_hash(tokenizer), "tokenizer": vocabulary, "engine": engine, "sampling": "none, exact probabilities"}
    return LocalAnswerer(model, tokenizer, name=entry), lambda: told


def _spec(entry: str) -> tuple[ModelSpec, Path | None]:
    """(the registry's entry or a plain one for a path, the adapter of a tuned model)."""
    if is_model(model_of(entry)):
        spec = get_spec(model_of(entry))
        if is_untuned(entry):
            return spec, None
        adapter = find_adapter(spec.key)
        if adapter is None:
            raise InputError(f"no adapter of {spec.key} here; train it (./run_all.sh), or name its untuned base: {spec.key}--base")
        return spec, adapter
    place = Path(entry).expanduser()
    if not place.exists():
        raise InputError("no such model, folder or file; name a key of the registry (KEY, KEY--base), a folder, a .gguf file, or server:URL#NAME")
    where = {"folder": str(place)} if place.is_dir() else {"gguf": GgufFile(file=str(place.resolve()))}
    name = place.resolve().stem
    return ModelSpec(
        key=name, display=name, order=99, licence="its own", architecture="", template="native", control=(), lora_targets=PAPER_TARGETS, **where
    ), None


def _server(entry: str, folder: Path) -> Opened:
    from ...models.answer_budget import AnswerCache, Budget, read_limits
    from ...models.server_answerer import ServerAnswerer
    from ...systems import parse_server

    spec = parse_server(entry)
    answerer = ServerAnswerer(spec, AnswerCache(folder), Budget(read_limits()), seed=0)

    def told() -> dict[str, str]:
        return {"weights": f"{spec.address}#{spec.model}", "server": ", ".join(answerer.record()["fingerprints"]) or "not told",
                "sampling": ", ".join(how for how in answerer.record()["options_by"] if how != "without an answer") or "none"}  # fmt: skip

    return answerer, told


def observe(answerer: Answerer, told: Callable[[], dict[str, str]], models: str) -> Baseline:
    """Ask the probes: what a baseline holds of whoever answers now."""
    answers = ask_probes(answerer)
    return Baseline(models, told() | {"probes": probe_hash()}, answers)


def run_drift(path: Path, *, models: str = "", update: bool = False, say: Callable[[str], None] = print, open_model: Callable[..., Opened] = opened) -> int:
    """The command without its options' texts. Returns the exit status; raises InputError if no comparison is possible.

    Args: models: as `--models` names it; "" for the baseline's own. update: write what is answered now as the new baseline, after comparing with the old one if
        there is one that fits.
    """
    answers_path(path)
    old, lacking = None, ""
    try:
        old = read_baseline(path)
    except InputError as error:
        if not update:
            raise
        lacking = str(error)
    if not (models or old):
        raise InputError(f"{path}: no baseline here that names a model; name it with --models")
    entry = models or old.models
    with tempfile.TemporaryDirectory() as folder:
        answerer, told = open_model(entry, Path(folder))
        now = observe(answerer, told, entry)
    if (lost := now.answers["probs"].isna()).mean() > MOST_MISSING:  # neither a comparison nor a baseline
        raise InputError(f"{lost.sum()} of {len(lost)} probes have no answer ({next(filter(None, now.answers['reason']), 'no reason given')})")
    status = 0
    if old is not None:
        try:
            change = compare(old, now)
            status = change.status
            say("\n".join(report_lines(change)))
        except InputError as error:
            if not update:
                raise
            say(f"not compared: {error}")
    if update:
        before = f"; before: {lacking}" if lacking and path.exists() else ""
        write_baseline(path, now)
        say(f"{path}: baseline of {entry} written ({len(now.answers)} probes){before}")
        return 0
    return status


def main(argv: list[str]) -> int:
    """The `drift` command. Exit status 0: the same, 1: drift, 2: no comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m polypersona_lib drift", description="Does a model still answer as it did when the baseline was written?",
        epilog="exit status: 0 the same, 1 drift, 2 no comparison is possible (one line says why); with --update 0 once the baseline is written",
    )  # fmt: skip
    parser.add_argument("--baseline", required=True, metavar="FILE", help="NAME.json; the answers lie beside it in NAME.parquet")
    parser.add_argument("--models", default="", metavar="KEY|PATH|server:URL#NAME", help="who is asked (default: the baseline's model); KEY--base: untuned")
    parser.add_argument("--update", action="store_true", help="write a new baseline from what is answered now")
    return exit_status(parser, argv, _compare)


def _compare(options: argparse.Namespace) -> int:
    try:
        return run_drift(Path(options.baseline), models=options.models, update=options.update)
    except (InputError, ModuleNotFoundError) as error:
        raise InputError(one_line(error)) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
