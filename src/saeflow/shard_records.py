"""What Snakemake records of shards, so that their number decides nothing of what is made again.

Apart from `saeflow.shards`, which scripts import: what is said here is no part of their code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from saeflow.errors import SaeflowError
from saeflow.shards import SHARDS


def leave_out_shards() -> None:
    """Let Snakemake go by the results of shards, and keep no record of which they were made from.

    It would make a result again whose number of shards has changed, with all that follows from it.
    Its record of inputs is made in one private method, which is the only place to say so. Likewise an
    input that is newer counts as changed unless its content is on record; of shards that were never
    made, or for older contents and are gone, the record that counts is that of what they are for.

    Raises
    ------
    SaeflowError
        If this Snakemake has no such methods.
    """
    from snakemake import persistence

    base: Any = getattr(persistence, "PersistenceBase", None)
    base = base or getattr(persistence, "Persistence", None)
    _wrap(base, "_input", _without_shards)
    _wrap(base, "input_checksums", _of_gathered)


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


def _of_gathered(whole: Callable[..., set[Any]]) -> Callable[..., set[Any]]:
    def checksums(self: Any, job: Any, input_path: Any) -> set[Any]:
        if not all(map(_is_shard, job.output)) or any(Path(path).exists() for path in job.output):
            return whole(self, job, input_path)
        users = self.dag.depending.get(job, {})
        gathering = [user for user in users if not all(map(_is_shard, user.output))]
        return set().union(*(whole(self, user, input_path) for user in gathering))

    return checksums
