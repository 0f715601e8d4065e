"""The rating panel: a thin ipywidgets view of a `session.Session`, for the keyboard first.

Persona, question and answer are untrusted text. They go into disabled text areas, whose value is never markup (`HTML` and `Label` would run scripts or LaTeX).
"""

from collections.abc import Callable

import ipywidgets as widgets

from .session import Session
from .sheet import POINTS, RATING_SCALES, SHOWN

STYLE = """<style>
.polypersona-rating { max-width: 60em; padding: 6px; }
.polypersona-rating:focus { outline: 2px solid #0072B2; outline-offset: -2px; }
.polypersona-rating textarea:disabled { opacity: 1; resize: none; font: 15px/1.45 sans-serif; field-sizing: content; }
.polypersona-rating .widget-label { white-space: normal; line-height: 1.3; height: auto; }
.polypersona-rating .rate-scale { border-left: 4px solid transparent; padding-left: 6px; margin-top: 8px; }
.polypersona-rating .rate-here { border-left-color: #0072B2; }
.polypersona-rating .rate-ask { font-weight: bold; }
.polypersona-rating .rate-silent { border: 2px solid #a3270f; color: #a3270f; font-weight: bold; padding: 6px; margin: 4px 0; }
</style>"""
KEYS = """
(() => {
  const moves = {Enter: '.rate-on', ArrowRight: '.rate-next', ArrowLeft: '.rate-back'};
  const said = panel => (panel.querySelector('.rate-count') || {}).textContent;
  const listen = panel => {  // the kernel counts what it was asked; if the count stands still, it is dead or busy
    const before = said(panel);
    setTimeout(() => {
      let line = panel.querySelector('.rate-silent');
      if (said(panel) === before && !line) {
        line = document.createElement('div');
        line.className = 'rate-silent';
        line.setAttribute('role', 'alert');
        line.textContent = 'The kernel does not answer: what you give now is NOT saved. Restart the kernel and run all cells: all ratings until here are kept.';
        panel.prepend(line);
      } else if (said(panel) !== before && line) line.remove();
    }, 4000);
  };
  const panelOf = event => event.target.closest && event.target.closest('.polypersona-rating');
  if (!window.polypersonaRating) {
    window.polypersonaRating = true;
    window.addEventListener('keydown', event => {
      const panel = panelOf(event);
      if (!panel || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.key === 'Tab') return;
      event.stopPropagation();  // else JupyterLab takes the key as a command: a digit turns the cell into a heading, dd deletes it
      const onButton = event.target.closest('button');
      if (onButton && (event.key === 'Enter' || event.key === ' ')) return;  // reached with Tab: the button itself acts
      const name = /^[1-5]$/.test(event.key) ? '.rate-key-' + event.key : moves[event.key];
      const button = name && panel.querySelector(name);
      if (button) { event.preventDefault(); if (!event.repeat) button.click(); }
    }, true);
    window.addEventListener('click', event => {
      const panel = panelOf(event);
      if (panel && event.target.closest('button')) listen(panel);
      if (panel && event.detail) panel.focus({preventScroll: true});  // after the mouse, the keys are for the panel again
    });
  }
  let tries = 100;
  const timer = setInterval(() => {
    const panel = document.querySelector('.polypersona-rating:not([tabindex])');
    if (panel) {
      const names = {tabindex: '0', role: 'group', 'aria-label': 'Rating: digits 1 to 5 rate, Enter goes on, left and right arrow move'};
      Object.entries(names).forEach(([name, text]) => panel.setAttribute(name, text));
      panel.querySelectorAll('.rate-status').forEach(line => line.setAttribute('role', 'status'));
      panel.focus();
    }
    if (panel || --tries < 0) clearInterval(timer);
  }, 100);
})();
"""
_HELP = "Keys: 1-5 rate (first realism, then consistency), Enter goes on, ← → move. Tab and the space bar reach every button. Everything is saved at once."
LINE = 60  # characters on one line of a text area in a narrow window; browsers that can (field-sizing) take the height of the text itself


class RatingPanel:
    """The widgets of one sitting; `box` is what to display."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.texts = {name: widgets.Textarea(description=name.capitalize(), disabled=True, layout={"width": "100%"}) for name in SHOWN}
        self.bar = widgets.IntProgress(max=len(session.items), description="Rated", layout={"width": "20em"})
        self.place, self.status = widgets.Label(), widgets.Label()
        self.status.add_class("rate-status")
        self.count = widgets.Label("0", layout={"display": "none"})  # of answers to the panel: its keys see by it that the kernel is alive
        self.count.add_class("rate-count")
        self.buttons: dict[tuple[str, int], widgets.Button] = {}
        self.scales = {scale: self._scale(scale, *words) for scale, words in RATING_SCALES.items()}
        moves = [
            self._button("← Back", "The answer before this one", "rate-back", lambda: session.go(-1)),
            self._button("Skip →", "The next answer, rated or not", "rate-next", lambda: session.go(1)),
            self._button("Go on ⏎", "The next answer that is not fully rated", "rate-on", self._go_on),
        ]
        keys = [self._button(str(value), "", f"rate-key-{value}", lambda value=value: session.rate(value)) for value in POINTS]  # fast typists: here the scale
        moves += [widgets.HBox(keys, layout={"display": "none"})]  # is the kernel's, which takes the keys one by one, not the one last drawn
        rows = [widgets.HBox([self.bar, self.place]), *self.texts.values(), *self.scales.values(), widgets.HBox(moves), self.status, widgets.Label(_HELP)]
        self.box = widgets.VBox([widgets.HTML(STYLE), *rows, self.count])
        self.box.add_class("polypersona-rating")
        self._refresh("; ".join(session.remarks))

    def _scale(self, scale: str, question: str, anchors: tuple[str, ...], hint: str) -> widgets.VBox:
        """A question with its five anchored buttons."""
        for value, anchor in zip(POINTS, anchors, strict=True):
            button = self._button(f"{value} {anchor}", f"{scale} {value}: {anchor}", "rate-point", lambda value=value: self.session.rate(value, scale))
            self.buttons[scale, value] = button
        asked = widgets.Label(f"{scale.capitalize()}: {question}")
        asked.add_class("rate-ask")
        box = widgets.VBox([asked, widgets.Label(hint), widgets.HBox([self.buttons[scale, v] for v in POINTS], layout={"flex_flow": "row wrap"})])
        box.add_class("rate-scale")
        return box

    def _button(self, text: str, description: str, name: str, action: Callable[[], object]) -> widgets.Button:
        button = widgets.Button(description=text, tooltip=description, layout={"width": "auto", "min_width": "6em"})
        button.add_class(name)
        button.on_click(lambda _: self._act(action))
        return button

    def _act(self, action: Callable[[], object]) -> None:
        """Do what a button stands for and show the result; ipywidgets would swallow an error, so it is shown, too."""
        try:
            self._refresh(action() or "")
        except Exception as error:
            self.status.value = f"NOT saved: {type(error).__name__}: {error}"
        self.count.value = str(int(self.count.value) + 1)

    def _go_on(self) -> str:
        """Go on, but not past an item that is only half rated by mistake."""
        left = self.session.missing(self.session.at)
        if left:
            return f"Not yet rated: {' and '.join(left)}. Press 1-5, or → to skip this answer for now."
        return "" if self.session.go_on() else "All answers are rated. Thank you! You can close the notebook."

    def _refresh(self, message: str) -> None:
        """Show the session as it is."""
        session = self.session
        for name, area in self.texts.items():
            value = session.item[name]
            text = " / ".join(value) if isinstance(value, list) else value or ""
            area.value, area.rows = text, 1 + len(text) // LINE
            area.layout.display = "" if text else "none"
        for (scale, value), button in self.buttons.items():
            chosen = session.given.get((session.item["item"], scale)) == value
            button.button_style, button.icon = ("primary", "check") if chosen else ("", "")
        for scale, box in self.scales.items():
            (box.add_class if scale == session.scale else box.remove_class)("rate-here")
        self.bar.value = session.rated
        self.place.value = f"answer {session.at + 1} of {len(session.items)}, {session.rated} fully rated"
        self.status.value = message


def show_panel(session: Session) -> None:
    """Display the panel with its keys in the cell's output."""
    from IPython.display import Javascript, display

    display(RatingPanel(session).box)
    display(Javascript(KEYS))
