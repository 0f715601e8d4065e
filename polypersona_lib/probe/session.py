"""What the page shows again after it was reloaded: its fields, in one file below the run's results. It never leaves this machine."""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import traitlets

from ..files import read_json, write_atomically


class PageSession:
    """The fields of one page and the file that keeps them. Two pages of one run share it: the last change counts."""

    def __init__(self, path: Path):
        self.path, self.fields, self.person, self._open = path, {}, None, False

    def watch(self, fields: Mapping[str, object], person) -> None:
        """Keep the values of `fields` (name -> widget, in the order in which they are filled again) and the card of `person` (a `PersonSection`)."""
        self.fields, self.person = dict(fields), person
        for widget in self.fields.values():
            widget.observe(lambda _: self.keep(), "value")

    def restore(self) -> bool:
        """Fill the fields with what was kept; a value that a field no longer takes is left out. Returns whether there was anything.

        From here on every change is kept: what the page does to its fields while it is made is no choice of the user.
        """
        kept = read_json(self.path)
        values = kept.get("fields") if isinstance(kept.get("fields"), dict) else {}
        for name, widget in self.fields.items():
            if name in values:
                with contextlib.suppress(traitlets.TraitError, ValueError, TypeError, KeyError):
                    widget.value = values[name]
            if name == "people" and isinstance(kept.get("card"), dict) and isinstance(kept.get("original"), dict):
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, traitlets.TraitError):
                    self.person.put_card(kept["original"], kept["card"])
        self._open = True
        return bool(values)

    def keep(self) -> None:
        """Write the file."""
        if self._open:
            said = {"fields": {name: widget.value for name, widget in self.fields.items()}, "card": self.person.card, "original": self.person.original}
            write_atomically(self.path, json.dumps(said, ensure_ascii=False))

    def forget(self, also: Callable[[], None]) -> None:
        """Delete the file and do `also`; what is on the page stays until it is reloaded, and is not kept."""
        self._open = False
        self.path.unlink(missing_ok=True)
        also()
