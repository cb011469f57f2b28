# What Snakemake does before the first job and after the last. Each of onstart, onsuccess and onerror may
# stand once in a workflow.

from saeflow.gpu import gpu_warnings, limit_warnings
from saeflow.manifest.hook import after_run
from saeflow.runlock import record_owner
from saeflow.shards import forget_times
from saeflow.sizes.requests import size_warnings


onstart:
    record_owner(Path.cwd(), workflow.executor_plugin.name)
    forget_times(Path.cwd())
    logger.addHandler(FAILURES)
    if not workflow.touch:
        warn_of_sizes(workflow.dag.needrun_jobs())
        if workflow.local_exec:
            check_gpu(
                job.resources.get("gpu") for job in workflow.dag.needrun_jobs()
            )


onsuccess:
    after_run(workflow, "finished")


onerror:
    # First: the reasons are told even if what follows is stopped, and it says nothing after them.
    tell_failures()
    after_run(workflow, "failed")


def warn_of_sizes(jobs):
    """Tell which models are loaded by jobs that ask for memory and time without knowing their size."""
    loading = [job for job in jobs if job.resources.get("model_jobs") is not None]
    read = [str(path) for job in loading for path in job.input]
    for warning in size_warnings(SIZES, read):
        logger.warning(warning)


def check_gpu(asked):
    """Stop before the first job where a GPU is needed and this machine has none that is large enough."""
    using = sum(bool(each) for each in asked)
    if not using:
        return
    try:
        for warning in gpu_warnings(CFG.compute.gpu_memory_gb):
            logger.warning(warning)
        if using > 1:
            limit = workflow.global_resources.get("gpu")
            # Versions of Snakemake differ in whether it is a number or an object that holds one.
            for warning in limit_warnings(getattr(limit, "value", limit)):
                logger.warning(warning)
    except SaeflowError as error:
        # One sentence; Snakemake would tell lines of this file beside an exception.
        logger.error(f"error: {error}")
        raise SystemExit(1) from None
