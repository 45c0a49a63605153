"""Descriptions from docstrings in the styles of Google, NumPy and Sphinx."""

from __future__ import annotations

__all__ = ["read_docstring"]


def read_docstring(text: str) -> tuple[str | None, dict[str, str]]:
    """Return what a docstring says of the whole, and what it says of each parameter or attribute by name."""
    from docstring_parser import parse  # loaded when the first tool with a docstring is made

    try:
        parsed = parse(text)
    except Exception:  # it stumbles over some texts with stray colons, which are descriptions all the same
        return text, {}
    notes: dict[str, str] = {}
    for param in parsed.params:
        for name in param.arg_name.split(","):
            if param.description:
                notes[name.strip().lstrip("*")] = param.description
    paragraphs = [part for part in (parsed.short_description, parsed.long_description) if part]
    return "\n\n".join(paragraphs) or (None if notes else text), notes
