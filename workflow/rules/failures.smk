# Which jobs failed, and why: heard while a run goes on, told at its end (see saeflow.failures).

from saeflow.failures import UNSEEN, Failure, Failures, ask_slurm, told


def give_up(number):
    """Try a job no more that cannot succeed: as if this attempt had been its last."""
    for job in workflow.dag.needrun_jobs():
        if job.jobid == number:
            job.attempt = max(job.attempt, job.restart_times + 1)


FAILURES = Failures(give_up)


def tell_failures():
    """End a failed run with the reason of each job; whatever happens, it must not hide them."""
    try:
        FAILURES.forget(job.jobid for job in workflow.dag.finished_jobs)
        for job in workflow.scheduler.failed:
            named = job.rule.name, job.wildcards_dict, "".join(job.log[:1])
            FAILURES.add_unseen(job.jobid, Failure(*named, UNSEEN, job.attempt))
        lines = told(ask_slurm(FAILURES.found.values()))
        logger.error("\n".join(lines))
    except Exception as error:
        logger.warning(f"the table of failed jobs cannot be made: {error!r}")
