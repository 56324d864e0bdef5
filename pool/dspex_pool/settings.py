"""The settings as they were given: flags over environment over a file over defaults.

Flags and variables are texts and are read as what the setting is; a file is TOML, whose
values have types of their own: `workers = 4`, not `workers = "4"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal, get_type_hints

from dspex_protocol import DSPexError, error, invalid_argument
from dspex_protocol.records import read

from .addresses import read_places
from .config import Config, describe_settings, flag_of, in_words, variable_of
from .store.addresses import check_address, redact

# Which file to read: a setting in all but that a file cannot name itself.
CONFIG_FILE: Final = "config_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """What a settings file says.

    Attributes:
        path: As it was given.
        values: TOML's values by setting; whether they are allowed is not checked yet.
    """

    path: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a setting came from.

    Attributes:
        kind: `flag`, `environment`, `file` or `default`.
        name: The flag, variable or key; for a default the variable that would change it.
        file: The file that the key is in; None for the others.
        given: What stood there; None for a default.
    """

    kind: Literal["flag", "environment", "file", "default"]
    name: str
    file: str | None = None
    given: object = None

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.name} in {self.file}"


def find_file(environment: Mapping[str, str], flags: Mapping[str, str]) -> SettingsFile | None:
    """The settings file that is named; without a name there is none.

    Raises:
        CallerError: `invalid_argument` for one that cannot be read, is no TOML, or has a key
            that is no setting.
    """
    path = flags.get(CONFIG_FILE) or environment.get(variable_of(CONFIG_FILE))
    if not path:
        return None
    named_by = flag_of(CONFIG_FILE) if flags.get(CONFIG_FILE) else variable_of(CONFIG_FILE)
    values = _load(path, named_by)
    names = [setting.name for setting in fields(Config)]
    for key in values:
        if key not in names:
            raise unknown_name(f"{key} in {path}", "setting", key, names)
    return SettingsFile(path=path, values=values)


def trace_settings(
    environment: Mapping[str, str], flags: Mapping[str, str], file: SettingsFile | None = None
) -> dict[str, Source]:
    """Where each setting comes from.

    An empty variable counts as not set: a shell or a service file has no other way to
    take one back.
    """
    return {setting.name: _source(setting.name, environment, flags, file) for setting in fields(Config)}


def read_config(environment: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Put the settings together, with those of the file that flags or environment name.

    Args:
        environment: Variables by name.
        flags: Texts by setting's name, as `cli.serve.read_flags` gives them.

    Raises:
        CallerError: `invalid_argument` naming the variable, the flag, or the key and its file.
    """
    return _read(trace_settings(environment, flags, find_file(environment, flags)), environment)


def effective_settings(environment: Mapping[str, str], flags: Mapping[str, str]) -> list[dict[str, object]]:
    """The rows of `describe_settings` with the value in force, and where it came from.

    Raises:
        CallerError: as `read_config`.
    """
    sources = trace_settings(environment, flags, find_file(environment, flags))
    values = asdict(_read(sources, environment))
    values["store"] = redact(str(values["store"]))
    return [
        row
        | {
            "value": values[name],
            "source": sources[name].kind,
            "source_name": sources[name].name,
            "source_file": sources[name].file,
        }
        for row in describe_settings()
        for name in [str(row["name"])]
    ]


def unknown_name(field: str, kind: str, name: str, known: Iterable[str]) -> DSPexError:
    """The refusal of a name that does not exist, with the one that was most likely meant."""
    import difflib  # 3 ms that only a mistake has to pay

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {' '.join(names)}"
    return error(
        "invalid_argument",
        f"{field}: there is no such {kind}; {hint}",
        details={"field": field, "expected": f"one of {' '.join(names)}", "got": name},
    )


def _load(path: str, named_by: str) -> dict[str, object]:
    import tomllib  # most servers have no file, and each waits for its imports

    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as reason:
        raise invalid_argument(named_by, f"a file that can be read ({reason.strerror})", path) from None
    except ValueError as reason:  # no UTF-8, or no TOML
        raise error(
            "invalid_argument",
            f"{path}: this is no TOML: {reason}",
            details={"field": path, "expected": "TOML", "got": str(reason)},
        ) from None


def _source(
    name: str, environment: Mapping[str, str], flags: Mapping[str, str], file: SettingsFile | None
) -> Source:
    variable = variable_of(name)
    if name in flags:
        return Source(kind="flag", name=flag_of(name), given=flags[name])
    if environment.get(variable):
        return Source(kind="environment", name=variable, given=environment[variable])
    if file is not None and name in file.values:
        return Source(kind="file", name=name, file=file.path, given=file.values[name])
    return Source(kind="default", name=variable)


def _read(sources: Mapping[str, Source], environment: Mapping[str, str]) -> Config:
    hints = get_type_hints(Config)
    given: dict[str, object] = {
        name: source.given if source.kind == "file" else _parse(str(source.given), hints[name])
        for name, source in sources.items()
        if source.kind != "default"
    }
    try:
        config = read(Config, given)
    except DSPexError as refusal:
        source = sources[str(refusal.details["field"])]
        raise invalid_argument(str(source), in_words(refusal.details["expected"]), source.given) from None
    _check_together(config, sources)
    _check_store(config, sources, environment)
    return config


def _check_together(config: Config, sources: Mapping[str, Source]) -> None:
    """Refuse what a type cannot, and settings that make no sense side by side."""
    read_places(config.listen, str(sources["listen"]))
    if config.min_workers is not None and config.min_workers > config.workers:
        expected = f"at most the {config.workers} of workers ({sources['workers']})"
        raise invalid_argument(str(sources["min_workers"]), expected, config.min_workers)
    if 0 < config.memory_hard_mb < config.memory_soft_mb:
        # The one that was set is to blame; with both it is the soft one.
        soft, hard = sources["memory_soft_mb"], sources["memory_hard_mb"]
        if soft.kind == "default":
            expected = f"0, or at least the {config.memory_soft_mb} of memory_soft_mb ({soft})"
            raise invalid_argument(str(hard), expected, config.memory_hard_mb)
        expected = f"at most the {config.memory_hard_mb} of memory_hard_mb ({hard})"
        raise invalid_argument(str(soft), expected, config.memory_soft_mb)


def _check_store(config: Config, sources: Mapping[str, Source], environment: Mapping[str, str]) -> None:
    try:
        check_address(config.store, environment)
    except DSPexError as refusal:  # what came may hold a password; it is told as far as it may be
        source, details = str(sources["store"]), {**refusal.details, "field": str(sources["store"])}
        message = f"{source}: expected {details['expected']}, got {details['got']}"
        raise error("invalid_argument", message, details=details) from None


def _parse(text: str, hint: object) -> object:
    """The text as a value of that type where it is one; what is not, `read` refuses by itself."""
    try:
        if hint is bool:
            return _BOOLEANS.get(text.lower(), text)
        if hint is int or hint == int | None:
            return int(text)
        return float(text) if hint is float else text
    except ValueError:
        return text


_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
