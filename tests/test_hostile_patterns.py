"""Every regular expression of the package takes time in proportion to the text: no input makes it hang."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from re import _compiler, _constants, _parser

import pytest
from timing import allowed

import polypersona_lib
from polypersona_lib import paths
from polypersona_lib.errors import InputError
from polypersona_lib.intake.data_faults import has_label
from polypersona_lib.intake.item_options import plain_text
from polypersona_lib.intake.qsf import read_qsf
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.reading import MOST_CHARACTERS, Place, slug_of
from polypersona_lib.intake.skip_rules import NotUnderstood, read_rule
from polypersona_lib.intake.tables import number_in
from polypersona_lib.prompts import chat
from polypersona_lib.scoring import option_labels
from polypersona_lib.texts import sentences, sentiment

PROBES = " \na0_-<>.,|/*'\"[({=$\u200b"  # characters that a class of a pattern is tried with
LONG, HOT = (2_000, 4_000), 100_000
REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def compiled() -> dict[str, tuple[re.Pattern, set[str]]]:
    """Every pattern of the package with how it is used: those that modules hold, and those that stand as a literal in a call of `re`."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((paths.ROOT / "polypersona_lib").rglob("*.py"))}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    used = defaultdict(set)  # name of a pattern -> methods that are called on it
    for _, node in nodes:
        used[ast.unparse(node.func.value).rpartition(".")[2]].add(node.func.attr)
    patterns = {}
    for info in pkgutil.walk_packages(polypersona_lib.__path__, "polypersona_lib."):
        if not info.name.endswith("__main__") and "evaluate_metrics" not in info.name:
            for name, value in vars(importlib.import_module(info.name)).items():
                if isinstance(value, re.Pattern):
                    patterns[f"{info.name}.{name}"] = value, used[name]
    for path, node in nodes:
        if ast.unparse(node.func.value) == "re" and node.args and isinstance(node.args[0], ast.Constant) and node.func.attr not in ("escape", "compile"):
            given = [k.value for k in node.keywords if k.arg == "flags"] + node.args[{"sub": 4, "split": 3}.get(node.func.attr, 2) :]
            flags = 0
            for flag in given:
                flags |= eval(compile(ast.Expression(flag), "flags", "eval"), {"re": re})
            patterns[f"{path.stem}:{node.lineno}"] = re.compile(node.args[0].value, flags), {node.func.attr}
    return patterns


PATTERNS = compiled()


def samples(parsed: _parser.SubPattern, state) -> list[str]:
    """A few texts that a part of a pattern matches, each repeat as short as it may be."""
    texts = [""]
    for code, argument in parsed:
        texts = [text + more for text in texts for more in one(code, argument, state)][:8]
    return texts


def one(code, argument, state) -> list[str]:
    """The same of one element."""
    if code is _constants.LITERAL:
        return [chr(argument)]
    if code in (_constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.CATEGORY):
        single = _compiler.compile(_parser.SubPattern(state, [(code, argument)]))
        listed = [value for kind, value in argument if kind is _constants.LITERAL] if code is _constants.IN else []
        return [c for c in PROBES if single.fullmatch(c)][:3] or [chr(min(listed)) if listed else ""]
    if code in REPEATS:
        least, _, inner = argument
        return [text * max(least, 1) for text in samples(inner, state)] if least else ["", *samples(inner, state)[:1]]
    if code is _constants.SUBPATTERN:
        return samples(argument[3], state)
    if code is _constants.ATOMIC_GROUP:
        return samples(argument, state)
    if code is _constants.BRANCH:
        return [text for branch in argument[1][:4] for text in samples(branch, state)[:2]]
    return [""]  # places, assertions, references


def attacks(pattern: re.Pattern) -> set[tuple[str, str, str]]:
    """(before, pump, after): what stands before a repeat, what it repeats, and what does not fit."""
    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE & ~re.DEBUG)
    made: set[tuple[str, str, str]] = {("", c, "\x00") for c in PROBES}
    todo = [("", parsed)]
    while todo:
        before, part = todo.pop()
        for number, (code, argument) in enumerate(part):
            head = before + samples(_parser.SubPattern(parsed.state, part.data[:number]), parsed.state)[0]
            if code in REPEATS and argument[1] > 20:
                for pump in samples(argument[2], parsed.state)[:3]:
                    made |= {(head, pump, "\x00"), ("", head + pump, "\x00"), (head, pump, "\n\x00\n")}
            inner = argument[2] if code in REPEATS else argument[3] if code is _constants.SUBPATTERN else None
            todo += [(head, inner)] if inner is not None else [(head, branch) for branch in argument[1]] if code is _constants.BRANCH else []
    return {(b, p, a) for b, p, a in made if p}


def seconds(pattern: re.Pattern, text: str, methods: set[str]) -> float:
    """CPU time of what is done with a pattern: searching a text from end to end, or matching its beginning or all of it; the best of two."""
    best = 9e9
    for _ in range(2):
        began = time.process_time()
        if not methods <= {"match", "fullmatch"}:
            deque(pattern.finditer(text), maxlen=0)
        pattern.match(text), pattern.fullmatch(text)
        best = min(best, time.process_time() - began)
    return best


def test_there_are_patterns_and_attacks_on_them():
    assert len(PATTERNS) > 100 and any(name.endswith("chat.CONTROL") for name in PATTERNS)
    assert ("<", " ", "\x00") in attacks(chat.CONTROL)


def slow(pattern: re.Pattern, methods: Collection[str] = ("search",), sizes: tuple[int, int] = LONG) -> Iterator[str]:
    """The attacks whose time grows faster than the text."""
    for before, pump, after in sorted(attacks(pattern)):
        short, long = (before + pump * (size // len(pump)) + after for size in sizes)
        for _ in range(3):  # what other work on the machine slows once is not slow three times
            spent = seconds(pattern, long, set(methods))
            if spent <= 0.01 or spent <= 2.8 * seconds(pattern, short, set(methods)):
                break
        else:
            yield f"{before!r} + {pump!r} * n + {after!r}: {spent:.3f} s"


@pytest.mark.parametrize("source", [r"<\s*/?\s*s\s*>", r"(?is)<(script|style)\b.*?</\1\s*>", r"(a|a)*$", r"\s+$", r"(?:\w+\s?)+:"])
def test_slow_patterns_are_seen(source):
    """What stood in the package before, and the textbook cases. `(a|a)*` needs no 4,000 letters."""
    pattern = re.compile(source)
    if source in (r"(a|a)*$", r"(?:\w+\s?)+:"):
        assert seconds(pattern, "a" * 21 + "\x00", {"match"}) > 3 * seconds(pattern, "a" * 18 + "\x00", {"match"})
    else:
        assert any(slow(pattern, sizes=(2 * LONG[0], 2 * LONG[1])))


SHORT = ("polypersona_lib.pilot.wording.", "wording:")  # these see the wording of an item alone: the readers let 1,000 characters through


@pytest.mark.parametrize("name", sorted(name for name in PATTERNS if not name.startswith(SHORT)))
def test_the_time_of_a_pattern_grows_with_the_text(name):
    assert not list(slow(*PATTERNS[name]))


@pytest.mark.parametrize("name", sorted(name for name in PATTERNS if name.startswith(SHORT)))
def test_patterns_of_short_texts_take_no_time_on_these(name):
    pattern, methods = PATTERNS[name]
    for before, pump, after in attacks(pattern):
        spent = seconds(pattern, before + pump * (MOST_CHARACTERS["question"] // len(pump)) + after, methods)
        assert spent < 0.1 or spent < allowed(0.1), (before, pump)


PUMPS = (
    "<", "< ", "<|", "<<", "<script", "<!--", "**", "a", " ", "\n", "a ", "a.", "A. ", ".", "'", '"', "[INST", "</", "\\boxed{", "1", "1,", "-", "=", "é", "因",
    "<think>", "\x1b[", "Options: a / b\n", "agree ", "not ", "\u200b", "${", "(", "I think ", "😀", "good but ",
)  # fmt: skip
CALLS = {
    "neutralise": chat.neutralise, "clean_answer": chat.clean_answer, "find_control_text": chat.find_control_text, "plain_text": plain_text, "slug_of": slug_of,
    "number_in": number_in, "has_label": lambda text: has_label(text, ["Yes", "No"]), "sentences": lambda text: list(sentences(text)), "sentiment": sentiment,
    "read_option": lambda text: option_labels.read_option(text, ["Strongly agree", "Agree", "No"]),
    "qsf": lambda text: read_qsf('{"SurveyElements": {"x": "' + text.replace("\\", "").replace('"', "") + '"}}', Place("f")),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_text_of_a_hundred_thousand_characters_takes_no_second(call):
    for pump in PUMPS:
        for before, after in (("", ""), ("<", "\x00")):
            text = before + pump * (HOT // len(pump)) + after
            began = time.process_time()
            CALLS[call](text)
            took = time.process_time() - began
            assert took < 1.0 or took < allowed(1.0), (before, pump)


def test_a_long_condition_is_refused_at_once():
    for pump in PUMPS:
        with pytest.raises(NotUnderstood):
            read_rule(pump * (HOT // len(pump)) + "x", {})


@pytest.mark.parametrize("options", [[f"o{i}" for i in range(8_000)], "|".join(f"o{i}" for i in range(3_000))], ids=["listed", "in one cell"])
def test_very_many_options_are_counted_and_not_compared(options, tmp_path):
    item = {"id": "a", "text": "Well?", "options": options, "codes": [str(i) for i in range(8_000)] if isinstance(options, list) else None}
    (tmp_path / "q.json").write_text(json.dumps({"items": [item]}))
    began = time.process_time()
    with pytest.raises(InputError, match="000 options; single needs 2 to 60"):
        read_questionnaire(tmp_path / "q.json")
    assert (took := time.process_time() - began) < 1 or took < allowed(1)
