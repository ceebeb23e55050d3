"""Reading configs: YAML, `--set` overrides, and errors that say which key, what was wrong and what was meant."""
from __future__ import annotations

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from jobs.config.datasets import Data
from jobs.config.evaluations import Evaluation
from jobs.config.pipeline import Pipeline
from jobs.config.sections import FORMS


class ConfigError(ValueError):
    """A config that cannot be used; the message names the file, the field and the way out, one line a fault."""


class UniqueKeySafeLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (YAML would let the last one win) and keys that are lists or mappings.

    Keys are looked at as they are written, before merge keys (`<<: *other`) bring in those of other mappings, which may be overridden.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a key is a list or a mapping; write a plain name as the key")
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if key in seen:
                raise ConfigError(f"line {line}: the key {key!r} is written twice; keep one")
            seen.add(key)
        return node


# YAML 1.1 takes 1e-4 for a string; people write learning rates so.
UniqueKeySafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load(path: Path, overrides: typing.Sequence[str] = ()) -> Pipeline:
    """The config in `path` with `key.path=value` overrides (values are YAML).

    Raises ConfigError when the file is missing, is not YAML, or holds a key or value that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a YAML file such as configs/quickstart.yaml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    try:
        values = yaml.load(text, Loader=UniqueKeySafeLoader) or {}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a value such as the date 2024-13-01
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {type(values).__name__}, not a mapping of sections")
    for override in overrides:
        _override(values, override)
    return check(values, str(path))


def check(values: dict[str, Any], where: str) -> Pipeline:
    """The validated config of plain values; ConfigError names each fault after `where`."""
    try:
        return Pipeline.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _faults(error, Pipeline))) from None


def check_data(values: dict[str, Any], where: str) -> Data:
    """The validated `data` section of plain values, for commands that need no whole pipeline."""
    try:
        return TypeAdapter(Data).validate_python(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _faults(error, Data))) from None


def check_evaluation(values: dict[str, Any], where: str) -> Evaluation:
    """The validated settings of one task of `evaluations`."""
    try:
        return TypeAdapter(Evaluation).validate_python(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _faults(error, Evaluation))) from None


def parse_value(override: str, text: str) -> Any:
    """The value of `--set key=text`, as a config would have it. ConfigError when it is no YAML."""
    try:
        return yaml.load(text, Loader=UniqueKeySafeLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a key written twice, or a value such as the date 2024-13-01
        raise ConfigError(f"--set {override}: the value is not valid YAML: {error}") from None


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as key.path=value, for example --set pretrain.epochs=5")
    value = parse_value(override, text)
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
    values[last] = value


def _faults(error: ValidationError, root: Any) -> list[str]:
    return [_fault(item, root) for item in error.errors()]


def _fault(item: Any, root: Any) -> str:
    models, keys = _walk(root, item["loc"])
    name = ".".join(keys) or "config"
    if item["type"] == "extra_forbidden":
        known = sorted({field for model in models for field in model.model_fields})
        near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.0)
        chosen = len(keys) > 1 and _is_choice(models) and not keys[-2].endswith("]")  # --set reaches into no list
        other = f"; another {keys[-2]} as a whole: --set '{'.'.join(keys[:-1])}={{...}}'" if chosen else ""
        hint = f"; did you mean {near[0]!r}? (known here: {', '.join(known)}{other})" if near else ""
        return f"{name}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{name}: is required and not given"
    if item["input"] is None and item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{name}: is empty; remove the line or give it fields"
    if item["type"] == "union_tag_invalid":
        near = difflib.get_close_matches(item["ctx"]["tag"], re.findall(r"'([^']*)'", item["ctx"]["expected_tags"]), n=1)
        return f"{name}: {item['msg']}" + (f"; did you mean {near[0]!r}?" if near else "")
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return f"{name}: {item['msg']} (got {item['input']!r})"


def _is_choice(models: typing.Sequence[type[BaseModel]]) -> bool:
    """Whether the section is one of several forms, told apart by its name or kind: another form has other keys."""
    return any(_tags(model) for model in models)


def _walk(root: Any, loc: tuple[Any, ...]) -> tuple[list[type[BaseModel]], list[str]]:
    """The models that could hold the last key of `loc`, and the keys as they stand in the file (no union tags)."""
    models = _models(root)
    keys: list[str] = []
    for depth, part in enumerate(loc):
        if isinstance(part, int):  # of a list
            keys[-1] += f"[{part}]"
            continue
        tagged = [m for m in models if part in _tags(m)]
        if tagged and not any(part in m.model_fields for m in models):  # a discriminated union's tag
            models = tagged
            continue
        if part in FORMS:  # so is this
            continue
        keys.append(str(part))
        if depth < len(loc) - 1:
            models = [n for m in models if part in m.model_fields for n in _models(m.model_fields[part].annotation)]
    return models, keys


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for arm in typing.get_args(annotation) for model in _models(arm)]
    if typing.get_origin(annotation) in (tuple, list):
        return [model for one in typing.get_args(annotation) for model in _models(one)]
    return []


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return tuple(
        value
        for key in ("kind", "name", "task")
        if key in model.model_fields
        for value in typing.get_args(model.model_fields[key].annotation)
    )
