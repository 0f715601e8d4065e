"""Self-contained HTML from a template: style and script inside, everything escaped, nothing loaded from elsewhere."""

import base64
from collections.abc import Mapping
from pathlib import Path

from ..files import sha256

SCRIPT = "report.js"  # what every page opens and filters with; `page.css` is what it looks like


def rendered(template: str, values: Mapping, *, folder: Path | None = None) -> str:
    """The page of `template` in `folder` (default: this one), everything escaped. The script's hash goes into the content security policy."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent
    loader = FileSystemLoader([folder or here, here], encoding="utf-8")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = "\n" + (here / SCRIPT).read_text(encoding="utf-8")
    digest = base64.b64encode(bytes.fromhex(sha256(script))).decode()
    return environment.get_template(template).render(**values, script=Markup(script), script_hash=digest)
