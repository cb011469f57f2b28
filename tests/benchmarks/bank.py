"""Time to train a bank of the published recipe: ours beside SAELens's trainer and a plain loop.

    python tests/benchmarks/bank.py [--epochs 25] [--repeats 3]

All train the same number of SAEs on the same rows for the same epochs, in turns within one process,
and the fraction of variance that each leaves unexplained is printed, so that nobody wins by doing
less. Ratios are those of the least times: other jobs on the machine slow a run and never speed it
up, and they slow the peers, whose every operation waits for two threads, far more. The last line is
one JSON object; exit code 3 if SAELens is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator

os.environ["TQDM_DISABLE"] = "1"  # one bar per SAE in SAELens

import torch
from torch import Tensor, nn

from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.quality import bank_quality
from saeflow.saes.train import initial_weights, train_bank

Trainer = Callable[[Tensor, list[Site], Recipe, torch.device], Bank]


def main() -> int:
    """Run the benchmark and return its exit code."""
    options = parse()
    torch.set_num_threads(options.threads)
    recipe = Recipe("abstopk", options.d_sae, options.k, epochs=options.epochs)
    sites = [Site(*divmod(number, 6)) for number in range(options.sites)]
    x = activations(options.sites, options.rows, options.d_in)
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    print(
        f"{options.sites} SAEs, {options.d_in} x {options.d_sae}, k {options.k}, {options.rows} rows, "
        f"{options.epochs} epochs, {options.threads} threads, least of {options.repeats}"
    )
    ours(x[:1, :300], sites[:1], Recipe("abstopk", 8, 2, epochs=1), devices[0])  # warm-up
    base = peak_mib()
    ours(x, sites, recipe, devices[0])
    peak = peak_mib()
    report: dict[str, object] = {"name": "bank", "ratio": None, "peer": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sae_lens
    except ImportError:
        sae_lens = None
    for device in devices:
        trainers: dict[str, Trainer] = {"saeflow": ours, "torch.nn loop": plain_loop}
        if sae_lens is not None:
            trainers["sae_lens"] = sae_lens_trainer
        seconds = compare(trainers, x, sites, recipe, device, options.repeats)
        suffix = "" if device.type == "cpu" else f"_{device.type}"
        report[f"seconds{suffix}"] = round(seconds["saeflow"], 3)
        report[f"ratio_plain_loop{suffix}"] = round(
            seconds["torch.nn loop"] / seconds["saeflow"], 2
        )
        if sae_lens is not None:
            report[f"ratio{suffix}"] = round(seconds["sae_lens"] / seconds["saeflow"], 2)
            report["peer"] = f"sae_lens {sae_lens.__version__}"
    report |= {"peak_mib": round(peak), "peak_mib_before": round(base), "epochs": options.epochs}
    print(json.dumps(report))
    return 3 if sae_lens is None else 0


def parse() -> argparse.Namespace:
    """Sizes from the command line; by default those of the reference models' banks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"epochs": 25, "repeats": 3, "threads": 2}
    sizes |= {"sites": 24, "rows": 1600, "d_in": 128, "d_sae": 512, "k": 100}
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return parser.parse_args()


def activations(n_sites: int, rows: int, d_in: int) -> Tensor:
    """Signed sparse sums of a random dictionary, with fixed offsets as models have them."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(n_sites, 2 * d_in, d_in, generator=generator)
    codes = torch.randn(n_sites, rows, 2 * d_in, generator=generator)
    codes *= torch.rand(codes.shape, generator=generator) < 0.1
    return codes @ atoms / d_in**0.5 + torch.randn(n_sites, 1, d_in, generator=generator)


def compare(
    trainers: dict[str, Trainer],
    x: Tensor,
    sites: list[Site],
    recipe: Recipe,
    device: torch.device,
    repeats: int,
) -> dict[str, float]:
    """Least seconds of each trainer; they take turns, so that each meets a quiet moment."""
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    fvu = {}
    for _ in range(repeats):
        for name, trainer in trainers.items():
            start = time.perf_counter()
            bank = trainer(x, sites, recipe, device)
            seconds[name].append(time.perf_counter() - start)
            values = [each.value for each in quality(bank, x) if each.metric == "fvu"]
            fvu[name] = statistics.mean(values)
    least = {name: min(each) for name, each in seconds.items()}
    for name, best in least.items():
        runs = ", ".join(f"{each:.2f}" for each in seconds[name])
        print(
            f"{device.type:5} {name:14} {best:8.2f} s ({runs}), "
            f"{best / least['saeflow']:5.2f} times ours, unexplained variance {fvu[name]:.4f}"
        )
    return least


def quality(bank: Bank, x: Tensor) -> list:
    """Quality of a bank; its rows are the training rows."""
    return bank_quality(bank, x, device="cpu")


def peak_mib() -> float:
    """Most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(x: Tensor, sites: list[Site], recipe: Recipe, device: torch.device) -> Bank:
    """`saeflow.saes.train.train_bank`."""
    return train_bank(x, sites, recipe, seed=0, device=device)


def batches(x: Tensor, recipe: Recipe) -> Iterator[Tensor]:
    """Shuffled batches of all epochs."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for rows in torch.split(order, recipe.batch_size):
            yield x[rows]


def plain_loop(x: Tensor, sites: list[Site], recipe: Recipe, device: torch.device) -> Bank:
    """One SAE after the other with torch.nn, autograd and Adam, as the study trains them."""
    weights = []
    for each in x.to(device):
        encoder = nn.Linear(x.shape[2], recipe.d_sae, device=device)
        decoder = nn.Linear(recipe.d_sae, x.shape[2], device=device)
        with torch.no_grad():
            decoder.weight /= decoder.weight.norm(dim=0)
        adam = torch.optim.Adam(
            [*encoder.parameters(), *decoder.parameters()], recipe.learning_rate
        )
        for batch in batches(each, recipe):
            pre = encoder(batch)
            chosen = pre.abs().topk(recipe.k, dim=-1).indices
            kept = torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
            loss = nn.functional.mse_loss(decoder(kept), batch)
            adam.zero_grad()
            loss.backward()
            adam.step()
        parts = (encoder.weight.T, encoder.bias, decoder.weight.T, decoder.bias)
        weights.append([part.detach().cpu() for part in parts])
    return Bank(recipe, tuple(sites), *(torch.stack(each) for each in zip(*weights, strict=True)))


def sae_lens_trainer(x: Tensor, sites: list[Site], recipe: Recipe, device: torch.device) -> Bank:
    """One SAE after the other with SAELens's AbsTopKTrainingSAE and SAETrainer."""
    from sae_lens import SAETrainer
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.abstopk_sae import AbsTopKTrainingSAE, AbsTopKTrainingSAEConfig

    weights = []
    for site, each in zip(sites, x.to(device), strict=True):
        sae = AbsTopKTrainingSAE(
            AbsTopKTrainingSAEConfig(
                d_in=x.shape[2],
                d_sae=recipe.d_sae,
                k=recipe.k,
                device=str(device),
                apply_b_dec_to_input=False,
                rescale_acts_by_decoder_norm=False,
                aux_loss_coefficient=0.0,
            )
        )
        # SAELens starts from a tied encoder, the study from independent layers. What is left of a
        # difference in quality comes from SAETrainer's clipping of gradients to norm 1.
        start = initial_weights(site, x.shape[2], recipe.d_sae, seed=0)
        sae.load_state_dict({name: weight[0] for name, weight in start.items()})
        config = SAETrainerConfig(
            total_training_samples=len(each) * recipe.epochs,
            train_batch_size_samples=recipe.batch_size,
            lr=recipe.learning_rate,
            lr_end=recipe.learning_rate,
            device=str(device),
            logger=LoggingConfig(log_to_wandb=False),
        )
        SAETrainer(cfg=config, sae=sae, data_provider=batches(each, recipe)).fit()
        parts = (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec)
        weights.append([part.detach().cpu() for part in parts])
    return Bank(recipe, tuple(sites), *(torch.stack(each) for each in zip(*weights, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
