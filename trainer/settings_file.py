"""A run's settings: one flat TOML file, changed by `key=value` words.

Settings of the weights (`config`) and of how the run is carried out (`RunOptions`) share one name
space, so that one file says all about a run. Every mistake names the key and what is allowed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from trainer.config import RunOptions, TrainingConfig

__all__ = ["SettingsError", "as_toml", "read_settings"]

ConfigType = TypeVar("ConfigType", bound=TrainingConfig)


class SettingsError(ValueError):
    """A settings file or a `key=value` word that cannot be used; says which and why."""


def read_settings(
    kind: type[ConfigType], path: Path | None, changes: Sequence[str] = ()
) -> tuple[ConfigType, RunOptions]:
    """Reads `path`, applies the changes (`key=value`), checks every value.

    Raises:
        SettingsError: an unknown key, a wrong type, a value out of range, or not a TOML file.
    """
    known = {field.name: field for owner in (kind, RunOptions) for field in fields(owner)}
    values = {
        key: _typed(_known(known, key), value)
        for key, value in (_read_toml(path) if path else {}).items()
    }
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator:
            raise SettingsError(f"{change!r} is not key=value")
        values[key.strip()] = _parsed(_known(known, key.strip()), text.strip())
    missing = [name for name, field in known.items() if _is_required(field) and name not in values]
    if missing:
        raise SettingsError(f"{', '.join(missing)} must be given, in the settings file or by flag")
    try:
        return (
            kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values}),
            RunOptions(**{f.name: values[f.name] for f in fields(RunOptions) if f.name in values}),
        )
    except ValueError as exc:
        raise SettingsError(str(exc)) from exc


def as_toml(config: TrainingConfig, options: RunOptions) -> str:
    """Every setting, as a file that `read_settings` reads."""
    return "".join(
        f"{name} = {_toml_value(value)}\n"
        for part in (options, config)
        for name, value in asdict(part).items()
        if value is not None
    )


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not a TOML file: {exc}") from exc
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}") from exc


def _known(known: Mapping[str, Field[Any]], key: str) -> Field[Any]:
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SettingsError(f"unknown setting {key!r}.{hint} Settings: {', '.join(sorted(known))}.")
    return known[key]


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


_WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


def _typed(field: Field[Any], value: Any) -> Any:
    """A value that TOML has read -> the setting's type."""
    kind = str(field.type)
    if kind.startswith("Path") and isinstance(value, str):
        return Path(value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__ != kind:
        allowed = _WORDS.get(kind, "a path in quotes")
        raise SettingsError(f"{field.name} must be {allowed}, not {value!r}")
    return value


def _parsed(field: Field[Any], text: str) -> Any:
    """The text after `key=` -> the setting's type; texts and paths need no quotes."""
    kind = str(field.type)
    if kind == "str" or kind.startswith("Path"):
        return _typed(field, text)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return _typed(field, value)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
