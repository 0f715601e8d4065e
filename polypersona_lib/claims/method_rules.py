"""Verdict rules for facts of the data and for the method: one small function for each name in the ledger's `test` column.

Every rule takes (claim, evidence) and returns a `Finding`; its first docstring line is the ledger's column `how`. Rules about scores are in
`score_rules`, about orders in `order_rules`, about the paper's own consistency in `contradictions`.
"""

import pandas as pd

from ..cells import DASH
from ..registry import MODELS, PAPER_TARGETS
from ..world.questions import DOMAINS
from .evidence import (
    BUILT,
    BUILT_TO_MATCH,
    CLOSE,
    MEASURED,
    NEEDS_DATA,
    NOT_REPRODUCED,
    PAPER_RUN,
    SOURCE,
    UNTESTED,
    Evidence,
    Finding,
    Untestable,
    by_name,
    paper_names,
    verdict,
)


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _fact(ev: Evidence, metric: str) -> float:
    """A fact of the data set. Raises: Untestable if this run cannot check it."""
    if not ev.trained_enough:
        raise Untestable(f"the {ev.profile.name} profile reads {ev.profile.rows} records; ./run_all.sh nano reads all")
    if metric not in ev.facts:
        foreign = f"the foreign data {ev.foreign} do not hold this; ./run_all.sh nano on the embedded data would test it"
        raise Untestable(foreign if ev.foreign else "this run did not measure it; ./run_all.sh nano does")
    return ev.facts[metric]


def _counted(ev: Evidence, ours: str, holds: bool, note: str = DASH) -> Finding:
    """A finding about the data set: by construction in ours, which is built to the paper's counts, measured in foreign data."""
    own = "by construction: our embedded data set is built to match the paper here, which says nothing about the original data"
    where, basis = (f"counted in the foreign data {ev.foreign}", MEASURED) if ev.foreign else (own, BUILT)
    return Finding(ours, verdict(holds, basis), where if note == DASH else f"{where}; {note}", basis)


def data(claim: pd.Series, ev: Evidence) -> Finding:
    """A count, or a share printed in per cent: equal at the paper's number of decimals."""
    ours = _fact(ev, claim["metric"]) * (100 if claim["unit"] == "%" else 1)
    shown = f"{ours:.{_decimals(claim['value'])}f}"
    return _counted(ev, shown, float(shown) == float(claim["value"]), claim["note"])


def present(claim: pd.Series, ev: Evidence) -> Finding:
    """Something that must occur at least once."""
    count = ev.facts.get(claim["metric"], 0)
    if ev.foreign:
        return _counted(ev, str(_fact(ev, claim["metric"])), count > 0)
    if not ev.trained_enough and not count:
        _fact(ev, claim["metric"])
    why = "by construction: our question bank names the instrument that inspired each item (our own wording)"
    return Finding(f"{count} items", verdict(count > 0, BUILT), why, BUILT)


def varied(claim: pd.Series, ev: Evidence) -> Finding:
    """Answers differ: at least 99 % distinct, lengths with a coefficient of variation above .1 (our reading of "differ")."""
    distinct, spread = _fact(ev, "answers.distinct"), _fact(ev, "answers.length_cv")
    shown = f"{distinct:.1%} distinct, length varies by {spread:.0%}"
    return _counted(ev, shown, distinct >= 0.99 and spread > 0.1, "Paper: not quantified; we ask for 99 % distinct answers and lengths that vary by 10 %")


def largest_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The domain with most records."""
    _fact(ev, "rows.demographics")
    top = max(DOMAINS, key=lambda d: ev.facts.get(f"rows.{d}", 0))
    return _counted(ev, top, top == claim["value"])


def balanced_splits(claim: pd.Series, ev: Evidence) -> Finding:
    """Splits keep the shares in all rows, up to a number of percentage points (ours)."""
    gap = _fact(ev, claim["metric"])
    return _counted(ev, f"{gap:.1f} percentage points at most", gap <= float(claim["value"]), claim["note"])


def recipe(claim: pd.Series, ev: Evidence) -> Finding:
    """A number of the recipe against the one that this run trained with (without a training: the one of its profile)."""
    ours = ev.facts.get(f"recipe.{claim['metric']}", getattr(ev.profile.train, claim["metric"]))
    ours = (4 if ours else 16) if claim["metric"] == "four_bit" else ours
    if float(ours) == float(claim["value"]):
        return Finding(f"{ours:g}", BUILT_TO_MATCH, f"by construction: the {ev.profile.name} profile uses it as printed", BUILT)
    return Finding(f"{ours:g}", UNTESTED, f"the {ev.profile.name} profile differs: {ev.profile.why}. {PAPER_RUN} uses the paper's value")


def gpu_only(claim: pd.Series, ev: Evidence) -> Finding:
    """Settings that only exist on a CUDA GPU."""
    if ev.facts.get("cuda"):
        return Finding(claim["value"], BUILT_TO_MATCH, "by construction: used on the GPU of this run", BUILT)
    return Finding("not on this machine", UNTESTED, f"{claim['note']}; {PAPER_RUN} on a CUDA GPU uses it")


def implemented(claim: pd.Series, ev: Evidence) -> Finding:
    """A step of the method that the code takes; the note names where."""
    return Finding("a step of our code", BUILT_TO_MATCH, f"by construction: {claim['note']}", BUILT)


def untested(claim: pd.Series, ev: Evidence) -> Finding:
    """What no run of this version can decide; the note says what would."""
    return Finding("not measured", UNTESTED, claim["note"])


def needs_data(claim: pd.Series, ev: Evidence) -> Finding:
    """What only the authors' data, code or definition could decide."""
    return Finding("not available", NEEDS_DATA, claim["note"])


def undefined(claim: pd.Series, ev: Evidence) -> Finding:
    """A metric that the paper names but does not define or report: ours is shown, nothing can be compared."""
    values = [s.value for key in ev.speakers if (s := ev.ours(key, claim["metric"]))]
    if not values:
        return Finding("not available", NEEDS_DATA, claim["note"])
    kind = {"nano": "nano twins", "small": "real model"}.get(ev.profile.scale, "hub models")
    return Finding(f"{min(values):.3f} to {max(values):.3f} ({len(values)} {kind})", NEEDS_DATA, claim["note"])


def base_model(claim: pd.Series, ev: Evidence) -> Finding:
    """The registry's base is the one that the paper names."""
    spec = MODELS[claim["subject"]]
    twin = "; this run uses its nano twin, the same architecture in small" if ev.profile.scale == "nano" else ""
    why = f"by construction: our registry takes {spec.hub_id} at revision {spec.revision[:8]}{twin}"
    return Finding(spec.hub_id, verdict(claim["value"].lower() in spec.hub_id.lower(), BUILT), why, BUILT)


def wrong_base(claim: pd.Series, ev: Evidence) -> Finding:
    """A statement about a base that its published card does not bear out."""
    return Finding("Qwen2.5-Math-1.5B", NOT_REPRODUCED, claim["note"], SOURCE)


def model_size(claim: pd.Series, ev: Evidence) -> Finding:
    """Parameters counted from the published configuration, in billions at the paper's decimals."""
    count = MODELS[claim["subject"]].parameters
    shown = f"{count / 1e9:.{_decimals(claim['value'])}f}"
    return Finding(shown, verdict(shown == claim["value"]), f"{count:,} parameters, counted from the published configuration (not from a nano twin)", SOURCE)


def template(claim: pd.Series, ev: Evidence) -> Finding:
    """A model with a chat template uses it, one without gets the ChatML fallback."""
    spec = MODELS[claim["subject"]]
    used = "the ChatML fallback" if spec.template == "none" else "its own chat template"
    why = f"by construction: {spec.display} is trained and asked with {used}; the template's hash is in the run record"
    return Finding(used, verdict((spec.template == "none") == (claim["value"] == "none"), BUILT), why, BUILT)


def lora_targets(claim: pd.Series, ev: Evidence) -> Finding:
    """The paper's seven module names are the ones adapted."""
    spec = MODELS[claim["subject"]]
    why = f"by construction: adapted in {spec.display}; a name that matched no module would stop the run"
    return Finding(", ".join(spec.lora_targets), verdict(set(spec.lora_targets) == set(PAPER_TARGETS), BUILT), why, BUILT)


def _trainable() -> dict[str, float]:
    """Per cent of each hub model's parameters that LoRA at r = 16 trains, from the published configurations."""
    return {key: 100 * m.trainable / m.parameters for key, m in MODELS.items()}


def fewer_parameters(claim: pd.Series, ev: Evidence) -> Finding:
    """Each model trains at least this share fewer parameters (half a percentage point below is still "approximately")."""
    saved = {key: 100 - share for key, share in _trainable().items()}
    least, most = min(saved, key=saved.get), max(saved, key=saved.get)
    run = [100 * (1 - v) for k, v in ev.facts.items() if k.startswith("share.trainable.")]
    here = f"; the small models of this run save {min(run):.1f} to {max(run):.1f} %, as their rank is as large" if run and ev.profile.scale == "nano" else ""
    why = f"counted from the published configurations at r = 16: least {paper_names([least])}, most {paper_names([most])}{here}"
    return Finding(f"{saved[least]:.1f} to {saved[most]:.1f} %", verdict(saved[least] >= float(claim["value"]) - 0.5), why, SOURCE)


def trainable_share(claim: pd.Series, ev: Evidence) -> Finding:
    """The trained share of every model lies in the printed range, at the paper's decimals."""
    shares, (low, high) = _trainable(), (float(end) for end in claim["value"].split(" to "))
    outside = [key for key, share in shares.items() if not low <= round(share) <= high]
    why = f"counted from the published configurations at r = 16; outside {claim['value']} %: {paper_names(outside) or 'none'}"
    return Finding(f"{min(shares.values()):.1f} to {max(shares.values()):.1f} %", verdict(not outside), why, SOURCE)


def retained_gain(claim: pd.Series, ev: Evidence) -> Finding:
    """LoRA's share of full fine-tuning's gain, from the ablation study: decided if its interval lies on one side of the paper's figure."""
    gain = ev.facts.get("ablation.retained")
    if not gain:
        raise Untestable("needs full fine-tuning beside LoRA: ./run_all.sh ablations runs both on a nano twin")
    low, share, high = (100 * gain[name] for name in ("lo", "share", "hi"))
    quantized = f", QLoRA {100 * ev.facts['ablation.retained_qlora']['share']:.1f} %" if "ablation.retained_qlora" in ev.facts else ""
    why = f"gain in loss on {gain['n']} records, nano twin, three seeds each (./run_all.sh ablations){quantized}; the paper does not say which gains it means"
    if low < float(claim["value"]) < high:
        return Finding(f"{share:.1f} % [{low:.1f}, {high:.1f}]", CLOSE, f"the interval includes the paper's figure: {why}", MEASURED)
    return Finding(f"{share:.1f} % [{low:.1f}, {high:.1f}]", verdict(low >= float(claim["value"])), why, MEASURED)


def memory_saved(claim: pd.Series, ev: Evidence) -> Finding:
    """What LoRA saves of full fine-tuning's memory: decided by full-size measurements on a GPU if there are any, else calculated for the hub models."""
    measured, near = ev.facts.get("ablation.measured"), 5
    if measured:
        shown = ", ".join(f"{m['label']} {100 * m['saved']:.0f} %" for m in measured)
        close = all(abs(100 * m["saved"] - float(claim["value"])) <= near for m in measured)
        why = f'peak memory at full size on {measured[0]["device"]}, random weights, against AdamW with 32-bit states; "around": all within {near} points'
        return Finding(f"measured: {shown}", verdict(close), why, MEASURED)
    budget = ev.facts.get("ablation.budget")
    if not budget:
        raise Untestable("./run_all.sh ablations calculates it; a measurement needs an accelerator (python benchmarks/full_size.py)")
    spans = ", ".join(f"{name} {100 * low:.0f} to {100 * high:.0f} %" for name, (low, high) in budget.items())
    twin = ", ".join(f"{name} {100 * share:.0f} %" for name, share in ev.facts["ablation.saved"].items() if share)
    run = "python benchmarks/full_size.py"
    why = f"calculated against AdamW in mixed precision; stored by a nano twin, activations apart: {twin}; a measurement needs an accelerator ({run})"
    return Finding(f"calculated: {spans}", UNTESTED, why, SOURCE)


def models_run(claim: pd.Series, ev: Evidence) -> Finding:
    """All seven models were tuned and scored in this run."""
    scores = ev.known("bleu")
    try:
        ev.field("bleu")
    except Untestable as gap:
        return gap.finding._replace(ours=f"{len(scores)} of 7")
    what = "nano twins of all seven families" if ev.profile.scale == "nano" else "all seven hub models"
    return Finding(str(len(scores)), verdict(len(scores) == int(claim["value"]), BUILT), f"by construction: {what} were tuned and scored alike here", BUILT)


def all_measured(claim: pd.Series, ev: Evidence) -> Finding:
    """All metrics of the list have scores in this run."""
    wanted = claim["value"].split(", ")
    have = [m for m in wanted if any(ev.ours(key, m) for key in ev.speakers)]
    if len(have) < len(wanted):
        lacking = ", ".join(m for m in wanted if m not in have)
        return Finding(", ".join(have) or "none", UNTESTED, f"no score of {lacking} in this run; ./run_all.sh {ev.profile.name} computes it")
    return Finding(", ".join(have), BUILT_TO_MATCH, "by construction: all of them are computed in this run", BUILT)


RULES = by_name(
    data, present, varied, largest_domain, balanced_splits, recipe, gpu_only, implemented, untested, needs_data, undefined, base_model, wrong_base,
    model_size, template, lora_targets, fewer_parameters, trainable_share, retained_gain, memory_saved, models_run,
) | {"measured": all_measured}  # fmt: skip
"""The name in the ledger's `test` column -> its rule."""
