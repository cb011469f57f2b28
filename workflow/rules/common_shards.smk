# How many jobs share the work of one. A matter of the machine, so a profile says it (set-scatter) or the
# command line (--set-scatter capture=8), never the configuration: it changes no number and rebuilds
# nothing. See docs/sharding.md.

from saeflow.artifacts.chunks import PROBLEMS, TEXTS, count_chunks
from saeflow.shard_records import leave_out_shards
from saeflow.shards import check_asked, origin_of, shard_names, shard_range
from saeflow.sizes.results import most_examples


scattergather:
    capture=1,
    training=1,
    ablation=1,


SCATTERED = dict(workflow.resource_settings.overwrite_scatter)

try:
    check_asked(SCATTERED, ["capture", "training", "ablation"])
    # Where nothing is shared, no result has shards among its inputs.
    if max(SCATTERED.values(), default=1) > 1:
        leave_out_shards()
except SaeflowError as error:
    raise WorkflowError(f"configuration: {error}") from None


wildcard_constraints:
    origin=r"[0-9a-f]{12}",


def shards(kind, most=None):
    """Names of the shards of some work; of at most as many as it has pieces, if that is known."""
    return shard_names(len(getattr(scatter, kind)("{scatteritem}")), most)


def shards_of(path, rule_name, spec, inputs, names):
    """Input function of a job that gathers: what its shards left.

    Takes the path of a shard's output; what decides it: the rule that would do it all, its function of
    params and its function of inputs; and a function of wildcards that names the shards.
    """
    return lambda wildcards: expand(
        path,
        **wildcards,
        origin=origin_of(code_of(rule_name), spec(wildcards), inputs(wildcards)),
        scatteritem=names(wildcards),
    )


def shard_runtime(wildcards, input, attempt):
    """Minutes of a shard of work that takes the longer the larger the model is."""
    count = int(wildcards.scatteritem.rpartition("-of-")[2])
    return minutes(SIZES, loads(wildcards, input), count) * attempt


def gathering_mem_mb(wildcards, input, attempt):
    """Memory of a job that joins tables; large files it links, and a model it does not load."""
    unread = {*input.get("model", []), *input.shards}
    tables = [path for path in input if path not in unread]
    return memory_mb(SIZES, tables, None, vectors=False) * attempt


# Captures. Only the configuration counts here: a table that is there would be counted otherwise on the
# node of a job than before it was made.
CAPTURE_SHARD = "results/shards/capture/{model}/{dataset}/{origin}/{scatteritem}"


def capture_shards(dataset):
    examples = most_examples(CFG.datasets[dataset])
    size = TEXTS if dataset in TEXT_SETS else PROBLEMS
    return shards("capture", examples and count_chunks(examples, size))


def shared_sets(names):
    return [name for name in names if len(capture_shards(name)) > 1]


def whole_sets(names):
    return [name for name in names if len(capture_shards(name)) == 1]


def shards_of_capture(rule_name, spec):
    return shards_of(
        CAPTURE_SHARD,
        rule_name,
        spec,
        lambda wildcards: [examples_of(wildcards.dataset), *model_files(wildcards)],
        lambda wildcards: capture_shards(wildcards.dataset),
    )
