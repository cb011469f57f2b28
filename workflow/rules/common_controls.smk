# Which banks one job trains, encodes or calibrates: each by itself, but a dictionary's controls together.

from saeflow.config.control_groups import (
    calibrated_groups,
    encoded_groups,
    trained_groups,
)

BANK = "results/saes/{model}/{dictionary}/seed{seed}"
FEATURES = "results/features/{model}/{dataset}/{dictionary}/seed{seed}"
TRAINED_GROUPS = trained_groups(CFG)
ENCODED_GROUPS = encoded_groups(CFG)
CALIBRATED_GROUPS = calibrated_groups(CFG)


def of_group(path, group):
    """One path for each bank of a group, in its order."""
    return [path.format(**bank._asdict()) for bank in group]


def shared_by(group, path):
    """One path for a group, which may name the dictionary that its banks control for."""
    return path.format(**group[0]._asdict())


def in_no_group(path, groups):
    """Wildcard constraint: a model, where what follows lies in no path of a group's bank."""
    start = path.index("{model}")
    made = [each[start:] for group in groups.values() for each in of_group(path, group)]
    return f"(?!({one_of(made)})(/|$))({one_of(CFG.models)})"


def bank_specs(*banks):
    return {
        "seed": int(banks[0].seed),
        "banks": {bank.dictionary: dictionary_spec(bank) for bank in banks},
    }


def encode_specs(*banks):
    return {bank.dictionary: encode_spec(bank) for bank in banks}


def calibrate_specs(*banks):
    return {
        "dataset": banks[0].dataset,
        "seed": int(banks[0].seed),
        "banks": {bank.dictionary: calibrate_spec(bank) for bank in banks},
    }


def runtime_of(group):
    """As long for each bank of a group as for one by itself."""
    return lambda wildcards, input, attempt: (
        len(group) * runtime(wildcards, input, attempt)
    )
