"""Where a cluster runs jobs that ask for a GPU, said once in a profile for every rule that declares one.

Snakemake's ``set-resources`` names rules one by one, and rules made in loops have names that depend on
the configuration. A profile therefore says in ``default-resources`` what only jobs with ``gpu=1`` ask
for, under names of their own, and this module gives it to the rules that declare a GPU.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

GPU_DEFAULTS = {
    "gpu_partition": "slurm_partition",
    "gpu_account": "slurm_account",
    "gpu_model": "gpu_model",
    "gpu_constraint": "constraint",
    "gpu_qos": "qos",
    "gpu_gres": "gres",
    "gpu_extra": "slurm_extra",
}
"""Names in a profile, and the resource of the Slurm plugin that each sets for jobs with a GPU."""
WITHOUT_GPU = "without_gpu"
"""Name in a profile which, when it is not 0, takes the GPU from every rule."""


def place_gpu_jobs(rules: Iterable[Any], overwritten: Mapping[str, Collection[str]]) -> None:
    """Give rules that declare a GPU what the profile says of such jobs, and no other rule.

    Changes ``resources`` of the rules. Nothing of it reaches params: where a job runs rebuilds nothing.

    Parameters
    ----------
    rules : iterable of snakemake.rules.Rule
        All rules; what a profile has in ``default-resources`` is among the resources of each.
    overwritten : mapping of str to collection of str
        For each rule that ``set-resources`` names, which resources; these stay as they are.
    """
    for rule in rules:
        resources = rule.resources
        defaults = {name: resources[name] for name in GPU_DEFAULTS if name in resources}
        without = WITHOUT_GPU in resources and _is_asked(resources[WITHOUT_GPU])
        own = overwritten.get(rule.name, ())
        # Snakemake leaves out what is None.
        for name in (*defaults, WITHOUT_GPU):
            if name in resources and not (name in own and name == GPU_DEFAULTS.get(name)):
                resources[name] = None
        if "gpu" not in resources or not _is_asked(resources["gpu"]):
            continue
        if without:
            resources["gpu"] = None
            continue
        for name, value in defaults.items():
            if (target := GPU_DEFAULTS[name]) not in own:
                resources[target] = value.with_name(target)
        if "gpu_gres" in defaults and "gres" not in own:
            # Asked for twice, some clusters would give two.
            resources["gpu"] = None


def _is_asked(resource: Any) -> bool:
    """Whether a resource is not zero, as far as that is known before its job is."""
    if resource.is_evaluable():
        return str(resource.raw) != "0"
    return bool(resource.value)
