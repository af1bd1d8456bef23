"""JSON and YAML texts as plain values: nothing is evaluated, no key may be given twice, and small texts stay small."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import yaml

DEEPEST = 100
"""Maximum nesting of brackets in a YAML file."""


class _SafeLoader(yaml.SafeLoader):
    """Plain values; a key given twice is an error, as are merge keys (<<), which copy mappings into one another."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, which the base class resolves here."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError(f"line {node.start_mark.line + 1}: merge keys (<<) are not supported; write the keys out")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without repeated keys."""
        self.flatten_mapping(node)
        return _each_key_once([(self.construct_object(key, deep), self.construct_object(value, deep))
                               for key, value in node.value])  # fmt: skip


def _each_key_once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping; of two values of one key, one would be ignored silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{max(found, key=keys.count)}' is given twice")
    return found


def parse_json(text: str) -> Any:
    """The values of a JSON text; raises ValueError or RecursionError."""
    return json.loads(text, object_pairs_hook=_each_key_once)


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text; refuses aliases (*name) that multiply values until they fill the memory."""
    if text.count("[") + text.count("{") > DEEPEST:  # otherwise PyYAML takes minutes
        depth = itertools.accumulate({"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0) for character in text)
        if max(depth) > DEEPEST:
            raise ValueError(f"brackets are nested more than {DEEPEST} deep")
    data = yaml.load(text, _SafeLoader)
    waiting, left = [data], 10 * len(text) + 1000
    while waiting and left > 0:
        value = waiting.pop()
        parts = (
            [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        )
        waiting += parts
        left -= len(parts)
    if waiting:
        raise ValueError("anchors and aliases (&, *) repeat too many values")
    return data
