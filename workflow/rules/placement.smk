# Included last, for it looks at every rule: those with gpu=1, made in loops or not, get the partition,
# constraint and model that the profile of a cluster names for them (docs/cluster.md).

from saeflow.placement import place_gpu_jobs

place_gpu_jobs(workflow.rules, workflow.resource_settings.overwrite_resources)
