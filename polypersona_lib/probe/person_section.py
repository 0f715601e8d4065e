"""Section 1 of the page: who is asked. A person of the data set, a new one, an edited card, or a description in words."""

from collections.abc import Callable

import ipywidgets as widgets

from ..errors import one_line
from ..prompts import chat
from .cards import FIELDS, LISTS, changed, choices, find_people, problems, roll
from .page_parts import ANY, WIDE, Filling, Worker, button, field, put, read_only, row, show_if


class PersonSection:
    """Finds, rolls, edits or describes the person."""

    def __init__(self, cards: dict[str, dict], worker: Worker, changed: Callable[[], None]):
        self.cards, self.changed = cards, changed
        self.card, self.original = {}, {}
        self._filling = Filling()
        self._make_finder()
        self._make_editors()
        self.who, self.card_text = read_only("Who", 1, "1 1 150px"), read_only("As the model reads it", 2, "5 1 420px")
        self.warnings = read_only("Contradictions", 1)
        self.warnings.add_class("pp-warning")
        self._connect(worker)
        head, switches = widgets.HTML("<h2>1. Who is asked</h2>"), row(self.roll, self.roll_seed, self.edit, self.in_words)
        self.children = [head, self.list_box, switches, self.card_box, self.words, row(self.who, self.card_text), self.warnings]

    def _make_finder(self) -> None:
        kinds, countries = (sorted({str(card.get(name, "")) for card in self.cards.values()}) for name in ("category", "country"))
        self.search = field(widgets.Text, "Search", placeholder="nurse California")
        self.category = field(widgets.Dropdown, "Kind of work", "1 1 160px", options=[ANY, *kinds])
        self.country = field(widgets.Dropdown, "Country", "1 1 160px", options=[ANY, *countries])
        self.people = field(widgets.Select, "People", WIDE, options=[], rows=5)
        self.list_box = widgets.VBox([row(self.search, self.category, self.country), self.people])
        self.roll = button("Roll a new plausible person")
        self.roll_seed = field(widgets.BoundedIntText, "Number of the new person", "0 1 170px", value=1, min=1, max=10**6)

    def _make_editors(self) -> None:
        self.edit = field(widgets.Checkbox, "Edit every attribute", "0 0 auto", value=False, indent=False)
        self.editors = {name: self._editor(name) for name in FIELDS}
        self.editors["description"] = field(widgets.Text, "Description", WIDE, continuous_update=False)
        self.undo = button("Undo the edits")
        self.card_box = widgets.VBox([row(*self.editors.values()), row(self.undo)])
        self.in_words = field(widgets.Checkbox, "Describe the person in words instead", "0 0 auto", value=False, indent=False)
        example = "A retired fisherman from Kerala who distrusts banks."
        self.words = field(widgets.Textarea, "In words", WIDE, rows=2, placeholder=example, continuous_update=False)

    @staticmethod
    def _editor(name: str):
        label = name.replace("_", " ").capitalize()
        if name == "age":
            return field(widgets.BoundedIntText, label, "1 1 140px", min=0, max=120, value=40)
        if name in LISTS:
            return field(widgets.Text, f"{label} (comma between)", continuous_update=False)
        return field(widgets.Combobox, label, options=[], ensure_option=False, continuous_update=False)

    def _connect(self, worker: Worker) -> None:
        worker.on_change(self.find, self.search, self.category, self.country)
        worker.on_change(self._pick, self.people)
        worker.on_change(self._show_card, self.in_words, self.words)
        self.edit.observe(lambda _: self._arrange(), "value")
        self.roll.on_click(lambda _: worker.safely(self._roll))
        self.undo.on_click(lambda _: worker.safely(lambda: self._fill(self.original)))
        for name, editor in self.editors.items():
            worker.on_change(lambda name=name: self._edit(name), editor)

    def _arrange(self) -> None:
        """Only what has an effect is shown: the list and the attributes of a card, or the field for words."""
        worded = self.in_words.value
        show_if(worded, self.words)
        show_if(not worded, self.list_box, self.roll, self.roll_seed, self.edit)
        show_if(self.edit.value and not worded, self.card_box)

    def find(self) -> None:
        """List the people that the search and the filters allow, and take the first."""
        wanted = {name: "" if box.value == ANY else box.value for name, box in (("category", self.category), ("country", self.country))}
        ids = find_people(self.cards, self.search.value, **wanted)
        with self._filling:
            self.people.options = [(f"{pid}: {chat.render_card(self.cards[pid])[:110]}", pid) for pid in ids]
            self.people.description = f"People ({len(ids)} found)"
            if ids:
                self.people.value = ids[0]
        if ids:
            self._fill(self.cards[ids[0]])

    def _pick(self) -> None:
        if not self._filling.now and self.people.value is not None:
            self._fill(self.cards[self.people.value])

    def _roll(self) -> None:
        with self._filling:
            self.people.value = None  # nobody in the list is asked now
        self._fill(roll(self.roll_seed.value))
        self.roll_seed.value += 1

    def _fill(self, card: dict) -> None:
        """Put a card into the editors."""
        self.card, self.original = dict(card), dict(card)
        with self._filling:
            for name, editor in self.editors.items():
                value = card.get(name, "")
                if name == "age":
                    editor.value = int(value or 40)
                else:
                    editor.value = ", ".join(value) if name in LISTS else str(value)
        self._show_card()

    def put_card(self, original: dict, card: dict) -> None:
        """Show `card`, an edited or unedited `original`, as it was before the page was reloaded."""
        with self._filling:
            self.people.value = original.get("persona_id") if original.get("persona_id") in dict(map(reversed, self.people.options)) else None
        self._fill(card)
        self.original = dict(original)
        self._show_card()

    def _edit(self, name: str) -> None:
        if self._filling.now:
            return
        self.card = changed(self.card, name, self.editors[name].value)
        if name == "household":
            with self._filling:
                self.editors["description"].value = self.card["description"]
        self._show_card()

    @property
    def name(self) -> str:
        """Who is asked, in two words."""
        if self.in_words.value:
            return "in words"
        pid = self.card.get("persona_id", "")
        if self.card != self.original:
            return f"{pid}, edited"
        return pid if pid in self.cards else f"{pid}, new"

    @property
    def given(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self.words.value.strip() if self.in_words.value else self.card)

    @property
    def persona(self) -> dict | str:
        """The card in the editors, or the description in words. Raises ValueError if that is empty."""
        if self.in_words.value and not self.given:
            raise ValueError("describe the person in words, or untick the box")
        return one_line(self.words.value) if self.in_words.value else self.card

    def listed(self, count: int) -> list[dict]:
        """Cards of the first `count` people in the list."""
        return [self.cards[pid] for _, pid in self.people.options[:count]]

    def _show_card(self) -> None:
        self._arrange()
        for name, editor in self.editors.items():
            if isinstance(editor, widgets.Combobox):
                editor.options = [str(v) for v in choices(name, self.card)]
        faults, text = (problems(self.persona), chat.render_card(self.persona)) if self.given else ([], "")
        if hidden := [marker for _, marker in chat.find_control_text(text)]:
            faults.append(f"control text made harmless: {', '.join(hidden)}")
        put(self.who, self.name)
        put(self.card_text, chat.neutralise(text))
        put(self.warnings, "; ".join(faults) or "none found")
        show_if(bool(faults), self.warnings)
        self.changed()
