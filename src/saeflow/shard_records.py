"""What Snakemake records of shards, so that their number decides nothing of what is made again.

Apart from `saeflow.shards`, which scripts import: what is said here is no part of their code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from saeflow.errors import SaeflowError
from saeflow.shards import SHARDS


def leave_out_shards() -> None:
    """Let Snakemake keep no record of which shards a result was made from.

    It would make a result again whose number of shards has changed, with all that follows from it.
    Its record of inputs is made in one private method, which is the only place to say so.

    Raises
    ------
    SaeflowError
        If this Snakemake has no such method.
    """
    from snakemake import persistence

    base: Any = getattr(persistence, "PersistenceBase", None)
    base = base or getattr(persistence, "Persistence", None)
    _wrap(base, "_input", _without_shards)


def _wrap(base: Any, name: str, around: Callable[[Callable[..., Any]], Any]) -> None:
    """Put a function around a method of Snakemake's, once."""
    whole = getattr(base, name, None)
    if not callable(whole):
        import snakemake

        raise SaeflowError(
            f"set-scatter asks for shards, whose records this Snakemake ({snakemake.__version__}) "
            f"keeps in another way (it has no Persistence.{name}); expected the version of "
            "envs/saeflow.yaml, or no set-scatter."
        )
    if not getattr(whole, "knows_shards", False):
        wrapped = around(whole)
        wrapped.knows_shards = True
        setattr(base, name, wrapped)


def _without_shards(whole: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def inputs(self: Any, job: Any) -> list[str]:
        return [path for path in whole(self, job) if not _is_shard(path)]

    return inputs


def _is_shard(path: Any) -> bool:
    return str(path).startswith(SHARDS)
