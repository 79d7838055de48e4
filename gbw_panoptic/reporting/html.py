"""A page from its blocks: one HTML file with everything in it, which asks no network for anything."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import files
from .blocks import HtmlPage

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(page: HtmlPage, path: Path) -> str:
    """Writes the page, whole or not at all, and gives its path."""
    return write_template("page.html.j2", path, page=page)


def write_template(name: str, path: Path, **values: Any) -> str:
    """Fills one of the templates in, writes it, whole or not at all, and gives its path."""
    text = _environment().get_template(name).render(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(path, text.encode())
    return str(path)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["embedded"] = _embedded
    environment.filters["signed"] = _signed
    return environment


def _embedded(name: str) -> Markup:
    """The style or the script of the page, which are ours and go in as they are."""
    return Markup((_TEMPLATES / name).read_text())


def _signed(value: float) -> str:
    """A gain with its sign; nothing is neither gain nor loss."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}") if value else "0.0"
