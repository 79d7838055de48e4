"""What the site has beyond docs/: the repository's other documents, and a page of the API for each room."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
#: Documents outside docs/ and their place on the site.
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "datasets/README.md": "datasets.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages."""
    for source, place in DOCUMENTS.items():
        text = linked((ROOT / source).read_text(), source)
        files.append(File.generated(config, place, content=text))
    for room, modules in rooms().items():
        blocks = "\n\n".join(f"::: {module}" for module in modules)
        files.append(File.generated(config, f"api/{room}.md", content=f"# {room}\n\n{blocks}\n"))
    return files


def on_config(config):
    """Lists the pages of the API."""
    pages = [f"api/{room}.md" for room in rooms()]
    config.nav = [{"API": pages} if entry == {"API": "api/"} else entry for entry in config.nav]
    return config


def on_page_markdown(markdown, page, config, files):
    """Turns links out of docs/ into links on the site."""
    return linked(markdown, f"docs/{page.file.src_uri}") if page.file.generated_by is None else markdown


def rooms() -> dict[str, list[str]]:
    """Name of each room, the package itself first -> its modules."""
    package = ROOT / "gbw_panoptic"
    found: dict[str, list[str]] = {"gbw_panoptic": ["gbw_panoptic"]}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] in ("__init__", "__version__"):
            continue
        found.setdefault(parts[1] if len(parts) > 2 else "gbw_panoptic", []).append(".".join(parts))
    return found


def linked(text: str, source: str) -> str:
    """A document's text with each link to a file of the repository as a link on the site.

    Args:
        source: path of the document in the repository.
    """
    place = DOCUMENTS.get(source, source.removeprefix("docs/"))

    def replaced(match: re.Match) -> str:
        image, title, target, anchor = match.groups()
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        page = page_of(path)
        if page is None:
            return match[0] if image else title
        return f"{image}[{title}]({posixpath.relpath(page, posixpath.dirname(place) or '.')}{anchor or ''})"

    # links are no links in blocks of code, which stand between fences or are indented
    parts = re.split(r"(^```.*?^```|^    .*?$)", text, flags=re.M | re.S)
    return "".join(part if i % 2 else _LINK.sub(replaced, part) for i, part in enumerate(parts))


def page_of(path: str) -> str | None:
    """Where a file of the repository is on the site; None: nowhere."""
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith("docs/") and not path.endswith(".json"):
        return path.removeprefix("docs/")
    parts = Path(path).parts
    if parts[0] != "gbw_panoptic":
        return None
    return f"api/{parts[1] if len(parts) > 1 and parts[1] in rooms() else 'gbw_panoptic'}.md"
