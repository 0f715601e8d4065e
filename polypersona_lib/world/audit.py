"""What a data set is like, measured: association of attributes, refrains in the text, variation of the answers, stance from the card.

Nothing here looks at the truth of the embedded world except through `target`, the option an answer takes (`option_labels.with_targets` adds it).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from .. import paths, resampling
from ..config import RunConfig
from ..prompts import chat
from ..texts import WORD
from . import dataset, paper, personas
from .questions import DOMAINS, load_questions

ATTRIBUTES = ("age", "gender", "ethnicity", "place", "area", "job", "education", "income", "family", "value")
_FOLDS = 5  # of the cross-validated classifier

# --- counts ------------------------------------------------------------------------------------------------------------------


def counts_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Every count and share the paper states about its data, ours beside it: columns what, ours, paper, same (equal as printed by the paper).

    Args: frame: all splits together, columns domain, question_type, question_id, persona_id, persona.
    Source: paper, sections III-B to III-D; "types of persona" are met as shares of rows (see notebook 01).
    """
    questions = frame.drop_duplicates("question_id")["question_type"].value_counts(normalize=True) * 100
    rows, reuse = frame["domain"].value_counts(), people(frame)["domains"].clip(upper=2).value_counts(normalize=True) * 100
    category = pd.Series([_category(c) for c in frame["persona"]]).value_counts(normalize=True) * 100
    lines = [("records", len(frame), paper.RECORDS), ("personas", frame["persona_id"].nunique(), paper.PERSONAS)]
    lines += [("questions", frame["question_id"].nunique(), paper.QUESTIONS)]
    lines += [(f"records: {name}", int(rows.get(key, 0)), paper.DOMAIN_RECORDS[key]) for key, name in DOMAINS.items()]
    lines += [(f"% of questions: {kind}", questions.get(kind, 0.0), share) for kind, share in paper.PAPER_TYPES.items()]
    lines += [(f"% of personas in {'one domain' if n == 1 else 'several domains'}", reuse.get(n, 0.0), share) for n, share in paper.PAPER_REUSE.items()]
    lines += [(f"% of records: {kind}", category.get(kind, 0.0), share) for kind, share in paper.CATEGORY_SHARES.items()]
    table = pd.DataFrame([(what, round(ours, 1), printed) for what, ours, printed in lines], columns=["what", "ours", "paper"], dtype=object)
    return table.assign(same=[a == b for a, b in zip(table["ours"], table["paper"], strict=True)])


def is_whole(run: RunConfig, frame: pd.DataFrame) -> bool:
    """True for the whole embedded data set. On a sample or on foreign data the paper's counts do not apply."""
    return not run.data and len(frame) == paper.RECORDS


def paper_values(run: RunConfig, frame: pd.DataFrame) -> dict[str, dict]:
    """The paper's numbers that this run can be compared with: records by domain (whole data set only), shares of types and of reuse (no foreign data)."""
    shares = {"types": {}, "reuse": {}} if run.data else {"types": paper.PAPER_TYPES, "reuse": paper.PAPER_REUSE}
    return {"records": paper.DOMAIN_RECORDS if is_whole(run, frame) else {}, **shares}


def persona_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of the persona types: columns % of records, % of personas, paper; the most frequent first, then types that the paper alone has."""
    records = frame["persona"].map(_category).value_counts(normalize=True) * 100
    personas_ = people(frame)["category"].value_counts(normalize=True) * 100
    table = pd.DataFrame({"% of records": records, "% of personas": personas_, "paper": pd.Series(paper.CATEGORY_SHARES)})
    return table.reindex([*records.index, *(kind for kind in paper.CATEGORY_SHARES if kind not in records)])


def possible_shares() -> pd.DataFrame:
    """Whether the paper's shares of persona types can be shares of its 433 personas.

    Returns: one row a type (index): printed (%), people (the nearest whole number), nearest (% with one person less, as many, one more), possible.
    """
    rows = {}
    for kind, share in paper.CATEGORY_SHARES.items():
        near = round(paper.PERSONAS * share / 100)
        shares = [round(100 * people / paper.PERSONAS, 1) for people in (near - 1, near, near + 1)]
        rows[kind] = {"printed": share, "people": near, "nearest": ", ".join(map(str, shares)), "possible": share in shares}
    return pd.DataFrame.from_dict(rows, orient="index")


def leakage_table(run: RunConfig, leakage: dict[str, int]) -> pd.DataFrame:
    """What the splits of this run share (`leakage` of the data report), and beside embedded data the other published configuration."""
    table = pd.DataFrame({f"{run.split} (this run)": leakage})
    if run.data:
        return table
    other = "grouped" if run.split == "paper" else "paper"
    published = {part: dataset.read_split(paths.DATASET / other, part) for part in dataset.SPLITS}
    return table.assign(**{f"{other} (published data set)": pd.Series(dataset.leakage_report(published))})


def split_balance(frame: pd.DataFrame) -> pd.DataFrame:
    """Largest gap, in percentage points, between a split's shares and those of all records: rows domain, question_type, category; columns splits (`part`)."""
    keys = {"domain": frame["domain"], "question_type": frame["question_type"], "category": frame["persona"].map(_category)}
    gaps = {}
    for name, values in keys.items():
        everywhere = values.value_counts(normalize=True)
        inside = {part: values[frame["part"] == part].value_counts(normalize=True) for part in dataset.SPLITS}
        gaps[name] = {part: shares.sub(everywhere, fill_value=0).abs().max() * 100 for part, shares in inside.items()}
    return pd.DataFrame(gaps).T


def _category(card: dict | str) -> str:
    """The persona type of a card; 'not stated' where it has none (foreign data)."""
    return card.get("category", "not stated") if isinstance(card, dict) else "not stated"


# --- personas ----------------------------------------------------------------------------------------------------------------


def people(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a persona (index persona_id): `persona` (the card), `category` (its type), `domains` (how many it appears in), in order of id."""
    grouped = frame.groupby("persona_id")
    cards = grouped["persona"].first()
    return pd.DataFrame({"persona": cards, "category": cards.map(_category), "domains": grouped["domain"].nunique()}).sort_index()


def card_attributes(cards: Iterable[dict]) -> pd.DataFrame:
    """The attributes of `ATTRIBUTES` as categories, one row a card: age in three groups, place as US region or 'abroad', value as the one named first."""
    rows = []
    for card in cards:
        feats = {key: next(iter(values), None) for key, values in personas.features(card).items()}
        place = card.get("region") if card.get("country") == "USA" else "abroad"
        own = {"gender": card.get("gender"), "ethnicity": card.get("ethnicity"), "place": place, "education": card.get("education")}
        rows.append(own | {key: feats[key] for key in ("age", "area", "job", "income", "family")} | {"value": next(iter(card.get("values", ())), None)})
    return pd.DataFrame(rows, columns=list(ATTRIBUTES))


def cramers_v(a: Sequence, b: Sequence) -> float:
    """Association of two categorical variables in [0, 1], corrected for small samples; NaN if one is constant. Source: Bergsma (2013)."""
    from scipy.stats import chi2_contingency

    table = pd.crosstab(np.asarray(a), np.asarray(b)).to_numpy()
    n, (r, k) = table.sum(), table.shape
    if min(r, k) < 2:
        return np.nan
    phi2 = max(0.0, chi2_contingency(table, correction=False).statistic / n - (r - 1) * (k - 1) / (n - 1))
    least = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi2 / least)))


def cramers_v_table(attributes: pd.DataFrame) -> pd.DataFrame:
    """Symmetric table of `cramers_v` for each pair of columns, 1 on the diagonal."""
    names = list(attributes.columns)
    table = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, first in enumerate(names):
        for second in names[:i]:
            table.loc[first, second] = table.loc[second, first] = cramers_v(attributes[first], attributes[second])
    return table


# --- the text ----------------------------------------------------------------------------------------------------------------


def without_label(text: str, options: Sequence[str] | None) -> tuple[str, bool]:
    """(`text` without the option label it opens with, whether it opened with one); the longest label counts, case does not."""
    for label in sorted(options if options is not None else (), key=len, reverse=True):
        if re.match(re.escape(label) + r"(?!\w)", text, flags=re.IGNORECASE):
            return text[len(label) :], True
    return text, False


def four_grams(text: str) -> set[str]:
    """The distinct runs of four lower-cased words in `text`."""
    words = WORD.findall(text.replace("\u2019", "'").lower())
    return {" ".join(words[i : i + 4]) for i in range(len(words) - 3)}


def four_gram_shares(frame: pd.DataFrame, *, top: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The most frequent 4-grams, each counted once an answer, option labels at an answer's start left out.

    Args: frame: columns reference, options, question_id.
    Returns: (in all answers: four_gram, answers, share; within a question: question_id, four_gram, answers, share), the `top` of each.
    """
    everywhere, within = Counter(), defaultdict(Counter)
    for text, options, question in zip(frame["reference"], frame["options"], frame["question_id"], strict=True):
        grams = four_grams(without_label(text, options)[0])
        everywhere.update(grams)
        within[question].update(grams)
    size = frame["question_id"].value_counts()
    overall = [(g, n, n / len(frame)) for g, n in everywhere.items()]
    inside = [(q, g, n, n / size[q]) for q, grams in within.items() for g, n in grams.items()]
    tables = (pd.DataFrame(overall, columns=["four_gram", "answers", "share"]), pd.DataFrame(inside, columns=["question_id", "four_gram", "answers", "share"]))
    return tuple(t.sort_values(["share", "four_gram"], ascending=[False, True]).head(top).reset_index(drop=True) for t in tables)


# --- the stances -------------------------------------------------------------------------------------------------------------


def closed_items(frame: pd.DataFrame) -> pd.DataFrame:
    """How the answers to each closed item spread over its options.

    Args: frame: columns question_id, question_type, options, target, reference; answers without a target are left out of the shares.
    Returns: one row an item (index question_id): question_type, answers, low, high (shares below and above the middle), minority_side (the smaller of the two),
        points (options used), options (how many there are), label_led (share that opens with the label).
    """
    rows = {}
    for question, part in frame[frame["options"].map(lambda o: o is not None and len(o) > 0)].groupby("question_id"):
        count = len(part["options"].iloc[0])
        chosen = part["target"].dropna()
        low, high = (chosen < (count - 1) / 2).mean(), (chosen > (count - 1) / 2).mean()
        led = np.mean([without_label(t, o)[1] for t, o in zip(part["reference"], part["options"], strict=True)])
        rows[question] = {
            "question_type": part["question_type"].iloc[0], "answers": len(part), "low": low, "high": high, "minority_side": min(low, high),
            "points": chosen.nunique(), "options": count, "label_led": led,
        }  # fmt: skip
    columns = ["question_type", "answers", "low", "high", "minority_side", "points", "options", "label_led"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else columns)


def sides(frame: pd.DataFrame) -> np.ndarray:
    """-1, 0 or 1: the side of the scale's middle that each closed answer takes."""
    middle = np.array([(len(o) - 1) / 2 for o in frame["options"]])
    return np.sign(frame["target"].to_numpy(dtype=float) - middle).astype(int)


def _design(frame: pd.DataFrame) -> np.ndarray:
    """One-hot card features within each construct (sign turned for reverse-keyed items), and one-hot questions: (rows, columns)."""
    from sklearn.feature_extraction import DictVectorizer

    questions, rows = load_questions(), []
    for card, question in zip(frame["persona"], frame["question_id"], strict=True):
        item, feats = questions[question], personas.features(card)
        rows.append({f"{item.construct}|{k}={v}": item.key for k, values in feats.items() if k != "voice" for v in values} | {question: 1})
    return DictVectorizer(sparse=True).fit_transform(rows)


def classify_stances(frame: pd.DataFrame, *, seed: int = 42) -> pd.DataFrame:
    """Predict the side that held-out personas take from their cards, all closed items of the question bank together.

    Multinomial logistic regression on one-hot card features, cross-validated so that no persona is in training and test fold at once; the majority is the side
    most answers to the same item take in the training folds.
    Args: frame: closed rows with persona (card), persona_id, question_id, options, target.
    Returns: persona_id, question_id, side, classifier, majority (the two predictions), one row an answer.
    Raises: ValueError with fewer than five personas.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    if (people := frame["persona_id"].nunique()) < _FOLDS:
        raise ValueError(f"{people} personas are too few for {_FOLDS} folds")
    features, side = _design(frame), sides(frame)
    predicted = frame[["persona_id", "question_id"]].reset_index(drop=True).assign(side=side, classifier=0, majority=0)
    for train, test in GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(features, side, frame["persona_id"]):
        model = LogisticRegression(C=0.3, max_iter=500).fit(features[train], side[train])
        predicted.loc[test, "classifier"] = model.predict(features[test])
        seen = predicted.iloc[train].groupby("question_id")["side"].agg(lambda s: s.mode().iloc[0])
        predicted.loc[test, "majority"] = predicted.iloc[test]["question_id"].map(seen).fillna(pd.Series(side[train]).mode().iloc[0]).astype(int)
    return predicted


def stances_from_cards(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """`stance_accuracy` of `classify_stances`; no rows for foreign data: their questions belong to no construct of our bank."""
    if frame.empty or not set(frame["question_id"]) <= set(load_questions()):
        return pd.DataFrame(columns=["mean", "lo", "hi", "n"])
    return stance_accuracy(classify_stances(frame, seed=seed), seed=seed)


def stance_accuracy(predicted: pd.DataFrame, *, seed: int = resampling.SEED) -> pd.DataFrame:
    """Accuracy of classifier and majority and their difference, with 95 % bootstrap intervals clustered by persona: columns mean, lo, hi, n."""
    right = {name: (predicted[name] == predicted["side"]).astype(float) for name in ("classifier", "majority")}
    rows = {name: resampling.bootstrap_mean(values, clusters=predicted["persona_id"], seed=seed) for name, values in right.items()}
    rows["difference"] = resampling.paired_bootstrap(right["classifier"], right["majority"], clusters=predicted["persona_id"], seed=seed)
    return pd.DataFrame.from_dict(rows, orient="index")


def card_texts(cards: Iterable[dict | str]) -> list[str]:
    """Each card as the prompt says it."""
    return [chat.render_card(card) for card in cards]
