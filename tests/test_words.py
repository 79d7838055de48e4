"""The documents are in plain English: short sentences, and no word on how or where the work was done."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = {"CONTRIBUTING.md", "README.md", "datasets/README.md", "docs/results/weighting/notebook.md"}
FILES = sorted({f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} | OTHERS)
MOST_WORDS = 25
README_LINES = 150
#: Words on the workshop instead of the work.
WORKSHOP = re.compile(
    r"\b(?:was|were) lent\b|\bat hand\b|\bwhen this was written\b|\bno GPU was\b|\bour (?:machine|session)\b", re.I
)


def blocks(text: str) -> list[tuple[int, str]]:
    """(Line number, prose) of every paragraph, list item, heading and table cell. Blocks of code are not prose."""
    found: list[tuple[int, str]] = []
    fenced = open_block = False
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("```"):
            fenced, open_block = not fenced, False
        elif fenced or not stripped or set(stripped) <= set("|-: "):
            open_block = False
        elif stripped.startswith("|"):
            found += [(number, cell) for cell in stripped.strip("|").replace("\\|", " ").split("|")]
            open_block = False
        elif line.startswith("    ") and not open_block:
            continue  # an indented block of code
        elif open_block and not re.match(r"(?:[-*+]|\d+\.|#+) ", stripped):
            found[-1] = (found[-1][0], f"{found[-1][1]} {stripped}")
        else:
            found.append((number, re.sub(r"^(?:[-*+]|\d+\.|#+) ", "", stripped)))
            open_block = not stripped.startswith("#")
    return found


def sentences(prose: str) -> list[str]:
    """The sentences of a block. Code is one word, a link is its text, and a full stop ends a sentence in bold type,
    too."""
    prose = re.sub(r"`[^`]*`", "CODE", prose)
    prose = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose)
    prose = re.sub(r"\bet al\.", "et al", prose).replace("**", "")
    return [part for part in re.split(r"(?<=[.!?])[)\"]?\s+", prose) if part.strip()]


def words(sentence: str) -> list[str]:
    """What has a letter or a digit in it."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def long_sentences(text: str) -> list[str]:
    return [
        f"line {number}, {len(words(sentence))} words: {sentence}"
        for number, prose in blocks(text)
        for sentence in sentences(prose)
        if len(words(sentence)) > MOST_WORDS
    ]


@pytest.mark.parametrize("name", FILES)
def test_sentences_are_short(name):
    found = long_sentences((ROOT / name).read_text())
    assert not found, f"{name}: {len(found)} sentences of more than {MOST_WORDS} words\n" + "\n".join(found)


@pytest.mark.parametrize("name", FILES)
def test_the_workshop_does_not_show(name):
    lines = (ROOT / name).read_text().splitlines()
    assert not [f"{name}:{number}: {line}" for number, line in enumerate(lines, start=1) if WORKSHOP.search(line)]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_what_counts_as_a_sentence():
    text = "# A title\n\nOne two. **Three four.** Five\nsix `seven eight` [nine](ten.md).\n\n    code is none\n\n"
    text += "- a list\n  goes on\n| a | b c |\n"
    found = [(number, [len(words(s)) for s in sentences(prose)]) for number, prose in blocks(text)]
    assert found == [(1, [2]), (3, [2, 2, 4]), (8, [4]), (10, [1]), (10, [2])]
    assert long_sentences("word " * 26) and not long_sentences("word " * 25 + ". word")
