"""What is changed, and which jobs may run again for it, by rule (design, section 5)."""

from __future__ import annotations

PUBLISHED = "studies: {gsm8k: {published: %s}}"
CALIBRATED_MODE = "studies: {gsm8k: {calibrated: %s}}"
HIERARCHY_MODE = "studies: {hierarchy: {calibrated: %s}}"
PAGES = {"compare_gsm8k": 1, "write_report": 1}
SUMMARIES = {"compare_calibration": 1, **PAGES}
GRIDS = {"capacity_grid": 2, "compare_capacity": 1}
CALIBRATED_CONTROLS = {"calibrate_controls_llama_generated_llama_k100_seed0": 1}
# Three banks with two ranges of permutations each, and two banks of controls, which share a job.
CALIBRATED = {"calibrate": 3, **CALIBRATED_CONTROLS, "match_seeds": 1, **SUMMARIES}
GATHERED = {"gather_gsm8k": 1}
PUBLISHED_MODE = {"associate": 3, "summarise": 3}
STUDY = {**PUBLISHED_MODE, **GATHERED, **CALIBRATED, **GRIDS}
HELD_OUT = {"permute_calibrated": 6}
CHAIN = {
    "train_bank": 1,
    "encode_features": 1,
    "associate": 1,
    "summarise": 1,
    "permute_calibrated": 2,
    "calibrate": 1,
}
"""What one more bank takes, but for gathering."""
ONE_BANK = {**CHAIN, **GATHERED, **SUMMARIES}
LLAMA = {**{job: 2 * count for job, count in CHAIN.items()}, **GATHERED, "match_seeds": 1}
LLAMA |= SUMMARIES
ONE_HIERARCHY = {
    "hierarchy_published": 1,
    "hierarchy_calibrated": 1,
    "intervene": 1,
    "hierarchy_effects": 1,
}
HIERARCHY_PAGES = {"gather_hierarchy": 1, "compare_hierarchy": 1}
# One bank of each model, on the balanced problems, too.
HIERARCHY = {**{job: 2 * count for job, count in ONE_HIERARCHY.items()}, **HIERARCHY_PAGES}
# And one of a control, of which features are counted.
COUNTED = {"hierarchy_calibrated": 3}
HIERARCHY |= COUNTED
# What counts features, without a model.
TAXONOMY = {**COUNTED, "hierarchy_effects": 2, "sweep_k": 2, **HIERARCHY_PAGES}
# The controls of one dictionary: two, of which the hierarchy study reads one on the balanced problems.
ENCODED_CONTROLS = {
    "encode_controls_llama_generated_llama_k100_seed0": 1,
    "encode_controls_llama_balanced_llama_k100_seed0": 1,
}
CONTROLS = {"train_controls_llama_llama_k100_seed0": 1, **ENCODED_CONTROLS}
ENCODED = {"encode_features": 5, **ENCODED_CONTROLS, **STUDY, **HELD_OUT, **HIERARCHY}
BANKS = {"train_bank": 3, **CONTROLS, **ENCODED, "sweep_k": 2}
# The study of the decimal bug: one model with one bank of tokens.
FORMATS_COMPARED = {"compare_formats": 1, "gather_decimals": 1, "summarise_decimals": 1}
DECIMALS = {"ask_decimals": 1, "patch_decimals": 1, **FORMATS_COMPARED}
# The study of specialists: likewise one model with one bank.
SUMMARISED = {"gather_specialists": 1, "summarise_specialists": 1}
TRIED = {"try_specialists": 1, **SUMMARISED}
POOLED = {"pool_texts": 1, "find_specialists": 1, "compare_specialists": 1, **TRIED}
SPECIALISTS = {"ask_specialists": 1, **POOLED}
# The study of wide SAEs: one model, whose SAEs are trained on one stream.
STEERED = {"steer_scaling": 1, "summarise_scaling": 1}
WIDE_READ = {"search_scaling": 1, "read_scaling": 1, "explain_scaling": 1, **STEERED}
WIDE = {"train_wide_llama_documents_0": 1, **WIDE_READ}
TRAINED_ON_TOKENS = {"capture_tokens": 1, "train_bank": 2, **FORMATS_COMPARED, **POOLED}
EVERY_BANK = {**BANKS, **FORMATS_COMPARED, **POOLED, **WIDE, "train_bank": 5}
EVALUATIONS = {"evaluate_model": 2, "write_report": 1}
CAPTURES = {"capture_thoughts": 4, **BANKS}
EVERY_MODEL_JOB = {
    **CAPTURES,
    "evaluate_model": 2,
    **TRAINED_ON_TOKENS,
    **DECIMALS,
    **SPECIALISTS,
    **WIDE,
    "train_bank": 5,
}
"""What runs a model or a bank, and what follows from it."""
ONE_GRID = {"capacity_grid": 1, "compare_capacity": 1}


def without(jobs: dict[str, int], *names: str) -> dict[str, int]:
    """The same jobs without some rules."""
    return {name: count for name, count in jobs.items() if name not in names}


CONFIG_CHANGES = {
    "a dose of steering": (
        "studies: {scaling: {calibrated: {steering: {doses: [0.0, 3.0]}}}}",
        {**STEERED, "write_report": 1},
    ),
    "how often a wide SAE is saved while it is trained": (
        "dictionaries: {llama_wide: {stream: {checkpoint_minutes: 3.0}}}",
        {},
    ),
    "an enrichment threshold": (
        PUBLISHED % "{association: {min_enrichment: 2.5}}",
        STUDY,
    ),
    "a threshold of the labels": (
        PUBLISHED % "{labels: {monosemantic_enrichment: 4.0}}",
        STUDY,
    ),
    "the number of permutations": (
        PUBLISHED % "{permutations: {count: 4}}",
        {"summarise": 3, **GATHERED, **SUMMARIES},
    ),
    "more permutations of the calibrated mode": (
        CALIBRATED_MODE % "{permutations: {count: 30}}",
        # Of the two ranges of each bank the first stands, the second grows, a third is new.
        {"permute_calibrated": 6, "calibrate": 3, "match_seeds": 1, **GATHERED, **SUMMARIES},
    ),
    "how sure levels must be": (
        HIERARCHY_MODE % "{levels: {false_share: 0.1}}",
        {**COUNTED, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "a dose": (
        HIERARCHY_MODE % "{causal: {doses: [0.0, 3.0]}}",
        {"intervene": 2, "hierarchy_effects": 2, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "the published rule for specialists": (
        "studies: {hierarchy: {published: {specialists: {value_share: 0.6}}}}",
        {"hierarchy_published": 2, "sweep_k": 2, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "how many features have a type": (
        "studies: {hierarchy: {published: {taxonomy: {top: 5}}}}",
        {"hierarchy_published": 2, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "what features are tested against": (
        HIERARCHY_MODE % "{specialists: {targets: [operators]}}",
        {
            **COUNTED,
            "hierarchy_effects": 2,
            **HIERARCHY_PAGES,
            "write_report": 1,
        },
    ),
    "k of the sweep": (
        HIERARCHY_MODE % "{sweep: {k: [4, 8, 16]}}",
        {"sweep_k": 2, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "no hierarchy study": (
        "studies: {hierarchy: null}",
        {"write_report": 1},
    ),
    "a false-discovery rate": (
        CALIBRATED_MODE % "{association: {q_value: 0.1}}",
        {**CALIBRATED, **HELD_OUT, **GRIDS, **GATHERED},
    ),
    "how alike seeds must be to recur": (
        CALIBRATED_MODE % "{stability: {min_similarity: 0.5}}",
        {"match_seeds": 1, "write_report": 1},
    ),
    "a size of the grid": (
        CALIBRATED_MODE % "{capacity: {k: [4, 8, 16]}}",
        {**GRIDS, "write_report": 1},
    ),
    "another control": (
        "dictionaries: {llama_k100_pca: {of: llama_k100, control: pca, k: 4}}\n",
        # The others of its dictionary come from the same jobs.
        {
            **CONTROLS,
            **CALIBRATED_CONTROLS,
            "hierarchy_calibrated": 2,
            **GATHERED,
            **SUMMARIES,
            **HIERARCHY_PAGES,
        },
    ),
    "another control on one layer": (
        "dictionaries: {llama_k100_pca: {of: llama_k100, control: pca, k: 4, layers: [1]}}\n",
        {
            **CONTROLS,
            **CALIBRATED_CONTROLS,
            "hierarchy_calibrated": 1,
            **GATHERED,
            **SUMMARIES,
            **HIERARCHY_PAGES,
        },
    ),
    "no control on one layer": (
        "dictionaries: {llama_soft_frozen_decoder: null}",
        {
            **CONTROLS,
            **CALIBRATED_CONTROLS,
            "hierarchy_calibrated": 1,
            **GATHERED,
            **SUMMARIES,
            **HIERARCHY_PAGES,
        },
    ),
    "no control": (
        "dictionaries: {llama_soft_frozen_decoder: null, llama_pca: null}",
        {**GATHERED, **SUMMARIES, **HIERARCHY_PAGES},
    ),
    "no control in the hierarchy study": (
        HIERARCHY_MODE % "{controls: []}",
        {**HIERARCHY_PAGES, "write_report": 1},
    ),
    "nothing calibrated": (
        "studies: {gsm8k: {calibrated: null}}",
        # The hierarchy study reads the held-out problems of one bank of each model; of the other one
        # they are encoded no more. It reads one control, which so far came with another.
        {
            **{job: 1 for job in CHAIN if job not in ("train_bank", *CALIBRATED, *HELD_OUT)},
            **CONTROLS,
            "hierarchy_calibrated": 1,
            **HIERARCHY_PAGES,
            **GATHERED,
            **PAGES,
        },
    ),
    "how many examples a feature has": (
        PUBLISHED % "{examples: 4}",
        {"summarise": 3, **GATHERED, **SUMMARIES},
    ),
    "k of one dictionary": (
        "dictionaries: {llama_k100: {k: 13}}",
        # Its soft frozen decoder shares it; its principal components have a k of their own, but come
        # from the same job.
        {
            **LLAMA,
            **CONTROLS,
            "encode_features": 3,
            **CALIBRATED_CONTROLS,
            **ONE_HIERARCHY,
            "hierarchy_calibrated": 2,
            **HIERARCHY_PAGES,
        },
    ),
    "the analysed layers": (
        PUBLISHED % "{layers: [1]}",
        without({**STUDY, **HELD_OUT}, *GRIDS),
    ),
    "the problem count": (
        "datasets: {generated: {n_train: 97}}",
        # The balanced problems stay as they are.
        {"load_problems": 1, "cut_tokens": 1, **CAPTURES, "capture_thoughts": 2},
    ),
    "one model's seed": (
        "models: {gpt2: {seed: 7}}",
        {
            "evaluate_model": 1,
            **ONE_BANK,
            **ONE_GRID,
            **ONE_HIERARCHY,
            **HIERARCHY_PAGES,
            "sweep_k": 1,
            "capture_thoughts": 2,
            "encode_features": 2,
        },
    ),
    "another model": (
        "models: {third: {of: llama, weights: fresh, seed: 5}}\n"
        + PUBLISHED
        % "{models: {third: {datasets: [generated], dictionaries: [llama_k100], seeds: [0]}}}",
        {"capture_thoughts": 1, "evaluate_model": 1, **ONE_BANK, **ONE_GRID},
    ),
    "another dictionary": (
        "dictionaries: {k8: {dataset: generated, d_sae: 64, k: 8, "
        "training: {epochs: 2, batch_size: 64}}}\n"
        + PUBLISHED
        % "{models: {llama: {dictionaries: [llama_k100, k8]}}}",
        LLAMA,
    ),
    "another seed": (
        PUBLISHED % "{models: {gpt2: {seeds: [0, 1]}}}",
        {**ONE_BANK, "match_seeds": 1},
    ),
    "how many problems a model is evaluated on": (
        "reference_models: {n_problems: 21}",
        EVALUATIONS,
    ),
    "models that are not evaluated": (
        "reference_models: {evaluate: []}",
        {"write_report": 1},
    ),
    "a block that no study reads": (
        "datasets: {spare: {source: path, path: not/there.jsonl}}",
        {},
    ),
    "two thresholds that swap values": (
        PUBLISHED % "{association: {min_active: 10, min_total: 8}}",
        STUDY,
    ),
}

FILE_CHANGES = {
    "the texts of the mixture": (
        "tests/config/mixture.yaml",
        lambda text: text.replace("decimals: {n_pairs: 40", "decimals: {n_pairs: 41"),
        {
            "draw_texts": 1,
            "load_texts": 2,
            **TRAINED_ON_TOKENS,
            **EVALUATIONS,
            "match_texts": 1,
            **SPECIALISTS,
            **WIDE,
        },
    ),
    "the training in the mixture": (
        "tests/config/mixture.yaml",
        lambda text: text.replace("checkpoint_minutes: 1", "checkpoint_minutes: 2"),
        {},
    ),
    "a comment in a module": (
        "src/saeflow/stats/joint.py",
        lambda text: text.replace("BLOCK = 4096", "# Bounds memory.\nBLOCK = 4096"),
        {},
    ),
    "a docstring and the layout of a module": (
        "src/saeflow/saes/train.py",
        lambda text: '"""Something else."""\n\n\n' + text.split('"""', 2)[2],
        {},
    ),
    "a real edit in the statistics": (
        "src/saeflow/stats/contingency.py",
        lambda text: text.replace("- 0.5, 0.0)", "- 0.25, 0.0)"),
        {**STUDY, **HELD_OUT, **TAXONOMY},
    ),
    "a real edit in the labels": (
        "src/saeflow/studies/gsm8k/labels.py",
        lambda text: text.replace("TOP = 10", "TOP = 9"),
        {**STUDY, **HELD_OUT},
    ),
    "a real edit in the information": (
        "src/saeflow/stats/information.py",
        lambda text: text + "\nEDITED = True\n",
        {**COUNTED, **HIERARCHY_PAGES, "write_report": 1},
    ),
    "a real edit in the interventions": (
        "src/saeflow/interventions/edits.py",
        lambda text: text + "\nEDITED = True\n",
        {
            "intervene": 2,
            "hierarchy_effects": 2,
            "hierarchy_published": 2,
            **HIERARCHY_PAGES,
            **TRIED,
            **STEERED,
            "write_report": 1,
        },
    ),
    "a real edit in the exact tests": (
        "src/saeflow/stats/discovery.py",
        lambda text: text.replace("(1e-4, 1e-2, 1.0)", "(1e-3, 1e-2, 1.0)"),
        {**CALIBRATED, **HELD_OUT, **GRIDS, **GATHERED, **TAXONOMY},
    ),
    "a real edit in the controls": (
        "src/saeflow/studies/compare/calibration.py",
        lambda text: text + "\nEDITED = True\n",
        {"compare_calibration": 1, "write_report": 1},
    ),
    "a real edit in the examples": (
        "src/saeflow/studies/gsm8k/examples.py",
        lambda text: text.replace("rank < count", "rank <= count"),
        {"summarise": 3, **GATHERED, **SUMMARIES},
    ),
    "a real edit in the comparison": (
        "src/saeflow/studies/compare/gsm8k.py",
        lambda text: text.replace("one - two for", "two - one for"),
        PAGES,
    ),
    "a real edit in the training": (
        "src/saeflow/saes/train.py",
        lambda text: text + "\nEDITED = True\n",
        EVERY_BANK,
    ),
    "a real edit in the reading of captures": (
        "src/saeflow/saes/sites.py",
        lambda text: text + "\nEDITED = True\n",
        EVERY_BANK,
    ),
    "a real edit in the encoding": (
        "src/saeflow/saes/encoding.py",
        lambda text: text + "\nEDITED = True\n",
        {**without(ENCODED, *GRIDS), **FORMATS_COMPARED, **POOLED, **WIDE_READ},
    ),
    "a real edit in the training of wide SAEs": (
        "src/saeflow/saes/wide/train.py",
        lambda text: text + "\nEDITED = True\n",
        {**WIDE, "write_report": 1},
    ),
    "a real edit in the search": (
        "src/saeflow/studies/scaling/search_calibrated.py",
        lambda text: text + "\nEDITED = True\n",
        {**WIDE_READ, "write_report": 1},
    ),
    "a real edit in the claims about wide SAEs": (
        "src/saeflow/studies/scaling/claims.py",
        lambda text: text + "\nEDITED = True\n",
        {"summarise_scaling": 1, "write_report": 1},
    ),
    "a real edit in the job's log": (
        "src/saeflow/jobs.py",
        lambda text: text + "\nEDITED = True\n",
        {},
    ),
    "a reworded description in the configuration": (
        "src/saeflow/config/studies.py",
        lambda text: text.replace("The chance level", "The level of chance"),
        {},
    ),
    "a real edit in the models": (
        "src/saeflow/models/codi.py",
        lambda text: text + "\nEDITED = True\n",
        EVERY_MODEL_JOB,
    ),
    "the report's template": (
        "workflow/report/index.html.jinja",
        lambda text: text + "<!-- edited -->\n",
        {"write_report": 1},
    ),
    "a caption of snakemake --report": (
        "workflow/report/gsm8k.rst",
        lambda text: text + "\nEdited.\n",
        {},
    ),
    "a profile": (
        "profiles/default/profile.yaml",
        lambda text: text + "\nkeep-going: true\n",
        {},
    ),
    "the documentation": ("docs/configuration.md", lambda text: text + "\nEdited.\n", {}),
    "an environment file": ("envs/saeflow.yaml", lambda text: text + "\n# edited\n", {}),
}
