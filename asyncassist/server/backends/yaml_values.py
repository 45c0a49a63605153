"""YAML, as far as it says what JSON could say."""

# PyYAML's own parts are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from typing import Any, cast

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from asyncassist.errors import UsageError

__all__ = ["parse_yaml"]

_NOT_TEXT = {
    "tag:yaml.org,2002:null": (r"(?:~|null|)$", ["~", "n", ""]),
    "tag:yaml.org,2002:bool": (r"(?:true|false)$", ["t", "f"]),
    "tag:yaml.org,2002:int": (r"-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    """Reads what JSON has, too: objects with text as keys, lists, null, true, false, numbers, and text for all else.

    So ``say: no`` and ``say: 12:30`` are texts. Aliases, by which a small file grows large, and tags are refused, and
    so are keys that are there twice.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = cast("Any", self).peek_event()
        if self.check_event(yaml.AliasEvent) or event.tag is not None:
            raise ComposerError(None, None, "aliases and tags are not taken here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                raise ConstructorError(None, None, "a key has to be text", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"{key} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _NOT_TEXT.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def parse_yaml(content: bytes) -> object:
    """Read a YAML document.

    Raises:
        UsageError: it is none, or one that says more than JSON could; the message names the line.
    """
    try:
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = cast("yaml.Mark", error.problem_mark)  # errors of a text say where in it
        context = f"{error.context}, " if error.context else ""
        raise UsageError(f"line {mark.line + 1}, column {mark.column + 1}: {context}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"this is not YAML: {error}") from None
    except RecursionError:
        raise UsageError("the lists in it are nested too deeply") from None
