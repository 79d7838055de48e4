"""Docstrings say :class:`~package.Name` where Markdown wants code."""

import re

from griffe import Extension

_ROLE = re.compile(r":[a-z]+:`~?([^`<]+?)(?:\s*<[^>]*>)?`")


class Roles(Extension):
    """Shows a role as code, with the last part of its name."""

    def on_object(self, *, obj, **_) -> None:
        if obj.docstring is not None:
            text = _ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", obj.docstring.value)
            obj.docstring.value = text.replace("][", ", ")  # rows of columns are no link
