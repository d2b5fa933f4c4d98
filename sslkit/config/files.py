"""Where recipes lie: in the package when installed, beside it in a source checkout."""

from __future__ import annotations

from pathlib import Path

from sslkit.errors import ConfigError, UnknownNameError

_PACKAGE = Path(__file__).parent.parent
# The wheel packs the recipes into the package; a source checkout has them beside it.
_FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")


def recipe_names() -> list[str]:
    """The names of the recipes that come with sslkit, sorted."""
    return sorted({file.stem for folder in _FOLDERS if folder.is_dir() for file in folder.glob("*.yaml")})


def read_recipe(name_or_file: str | Path) -> tuple[str, str]:
    """What to call a recipe in messages, and its text. A name is looked up; a path or *.yaml is a file.

    Raises UnknownNameError for an unknown name, ConfigError for a file that cannot be read.
    """
    given = str(name_or_file)
    if isinstance(name_or_file, Path) or given.endswith((".yaml", ".yml")) or "/" in given or "\\" in given:
        return given, _text(Path(given))
    for folder in _FOLDERS:
        if (file := folder / f"{given}.yaml").is_file():
            return f"recipe '{given}'", _text(file)
    raise UnknownNameError("recipe", given, recipe_names(), "A file is given by its path, e.g. ./my.yaml.")


def recipe_header(name_or_file: str | Path) -> str:
    """The leading comment of a recipe, without `#`: purpose, command, hardware, duration, expected."""
    lines = []
    for line in read_recipe(name_or_file)[1].splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" ").rstrip())
    return "\n".join(lines)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no recipe file '{file}'; `sslkit recipes list` shows the named ones"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe file '{file}' cannot be read: {error}") from None
