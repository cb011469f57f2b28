"""YAML files, read so that whatever is wrong with one is told with its name and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from saeflow.errors import SaeflowError, first_line


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no key is given twice.

    YAML itself lets the last of equal keys win, and with it whatever stands below it.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    object
        Of YAML's kinds.

    Raises
    ------
    SaeflowError
        If the file cannot be read or is no YAML, naming file, line and cause.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _refuse_repeated(path, node, set())
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        told = " ".join(str(error.problem or error.context).split())
        tabs = "; indent with blanks, not with tabs" if "'\\t'" in told else ""
        raise SaeflowError(f"{where}: {told}; expected YAML{tabs}.") from None
    except UnicodeDecodeError as error:
        raise SaeflowError(f"{path} is not UTF-8 (byte {error.start}); expected YAML.") from None
    except RecursionError:
        raise SaeflowError(f"{path} is nested too deeply; expected YAML.") from None
    except OSError as error:
        raise SaeflowError(f"{path} cannot be read: {error.strerror}.") from None
    # Of characters that may not be there, or of values such as the 31st of February.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise SaeflowError(f"{path} cannot be read as YAML ({first_line(error)}).") from None


def check_configuration(path: Path) -> None:
    """Check that a file is one of configuration, before Snakemake reads it, which names no line.

    Raises
    ------
    SaeflowError
        If it cannot be read, is no YAML, gives a key twice or holds no keys.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise SaeflowError(f"{path} holds {found}; expected keys with values.")


def _refuse_repeated(path: Path, node: yaml.Node | None, seen: set[int]) -> None:
    """Refuse equal keys in a mapping; anchors may make a node its own part."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _refuse_repeated(path, each, seen)
    elif isinstance(node, yaml.MappingNode):
        places: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in places:
                    raise SaeflowError(
                        f"{path}, line {line}: {key.value!r} is given again, after line "
                        f"{places[name]}; expected it once."
                    )
                places[name] = line
            _refuse_repeated(path, value, seen)
