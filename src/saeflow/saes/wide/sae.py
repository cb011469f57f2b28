"""One update of a wide SAE, with gradients written out.

What an update costs, for a batch of B tokens, n = d_sae latents of d = d_in dimensions, k of them active:

    step                          floating-point operations     bytes read and written
    encode                        2 B n d                       4 (n d · B/256 + 2 B n)
    k largest of each token       about B n comparisons         4 B n
    decode                        2 B k d                       4 B k d
    back to active latents        2 B k d                       4 · 3 B k d
    gradients of W_enc, W_dec     4 B k d                       4 · 2 B k d
    unit norm (gradient, rows)    about 7 n d                   in the cache
    Adam, both matrices           about 24 n d                  4 · 12 n d

Done densely, as autograd does it, decoding, going back and both gradients are 2 B n d each: with the
gradient of the input, 12 B n d in all, six times as much as to encode. At 768 → 24,576, k 32 and
B = 2,048 that is 77 GFLOP to encode against 0.8 for all that is sparse. On one thread of an EPYC
(87 GFLOP/s) encoding took 0.89 s, the largest 0.06, decoding and back 0.04, gradients 0.02, Adam 0.02:
nine tenths of an update are one product that nobody can leave out. Its inputs can be rounded, though: in
bfloat16 it takes 0.37 s. With `autocast` it is used only to find candidates, a quarter more than k,
whose values are then computed in float32.

Gradients never exist as a whole: latents are updated block by block, while their gradient is in the cache.
Every block of tokens or latents is the work of one thread, so that there are two barriers in an update and
its bytes do not depend on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.saes.parallel import one_thread_each
from saeflow.saes.train import keep_near
from saeflow.saes.wide.adam import adam_update
from saeflow.saes.wide.dead import Revival
from saeflow.saes.wide.products import (
    Entries,
    latents_at_a_time,
    product,
    row_dots,
    rows_at_a_time,
    weighted_sums,
)
from saeflow.saes.wide.recipe import WideRecipe, penalty_per_token
from saeflow.saes.wide.state import WideState, initial_state
from saeflow.saes.wide.strongest import in_rows, strongest, strongest_of_batch

Table = tuple[Tensor, Tensor]
"""Values of active latents and their numbers, both of shape (rows, width)."""
# A first guess at where the values of a batch are cut, below the running threshold; too high a guess
# costs a second pass, too low a one some candidates.
GUESS = 0.8
EXTRA_CANDIDATES = 8


class WideSae:
    """A wide SAE in training.

    Parameters
    ----------
    recipe : WideRecipe
        What it is.
    state : WideState
        Where it starts, changed in place by `step`.
    """

    def __init__(self, recipe: WideRecipe, state: WideState) -> None:
        self.recipe, self.state = recipe, state
        weights = state.weights
        self.device, self.d_in = weights["b_dec"].device, len(weights["b_dec"])
        self.unit_norm = not recipe.published
        self.half = weights["W_enc"].bfloat16() if recipe.settings.autocast else None
        self.start: Tensor | None = None
        if recipe.control == "soft_frozen_decoder":
            fresh = initial_state(recipe, torch.zeros(1, self.d_in), torch.device("cpu"))
            start = torch.nn.functional.normalize(fresh.weights["W_dec"], dim=1)
            self.start = start.to(self.device)
        self.rows = rows_at_a_time(self.device)
        self.sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        """Of the batches since `measured`: loss, squared error, squares about the mean, active."""

    def step(self, batch: Float[Tensor, "rows d_in"]) -> None:
        """Update the SAE once.

        Parameters
        ----------
        batch : torch.Tensor of shape (rows, d_in), any floating dtype
            Activations as they are, on any device.
        """
        with one_thread_each(self.device) as pool:
            _Update(self, batch, pool).run()

    def measured(self, batches: int, rows: int) -> dict[str, float]:
        """Means over the last batches, and start anew.

        Parameters
        ----------
        batches, rows : int
            How many, and their tokens together.

        Returns
        -------
        dict of str to float
            ``loss`` with all its terms, of scaled activations; ``fvu`` about the mean of each batch,
            NaN where all activations are equal; ``l0``; ``dead_share``, of latents that count as dead.
        """
        loss, squared, spread, active = self.sums.tolist()
        self.sums.zero_()
        dead = self.state.idle >= self.recipe.settings.dead_after
        return {
            "loss": loss / batches,
            "fvu": squared / spread if spread > 0 else float("nan"),
            "l0": active / rows,
            "dead_share": float(dead.double().mean()),
        }

    def agree(self, x: Float[Tensor, "rows d_in"]) -> None:
        """Scale the encoder so that the reconstruction of some activations errs least.

        Rows of a random decoder are not orthogonal: with k large, the sum of what k of them see in
        an activation is longer than it. One factor of all values, by least squares, mends that.
        `StreamSettings.encoder_start` shortens it further.
        """
        if self.recipe.published:
            return
        with one_thread_each(self.device) as pool:
            target, written = _Update(self, x, pool).reconstruct()
        squares = float(written.double().square().sum())
        share = 0.0
        if squares > 0:
            share = max(0.0, float((target.double() * written.double()).sum()) / squares)
        self.state.weights["W_enc"].mul_((share or 1.0) * self.recipe.settings.encoder_start)
        if self.half is not None:
            self.half.copy_(self.state.weights["W_enc"])


class _Update:
    """What one update computes, each step by itself."""

    def __init__(self, sae: WideSae, batch: Float[Tensor, "rows d_in"], pool: Executor) -> None:
        self.sae, self.recipe, self.state, self.pool = sae, sae.recipe, sae.state, pool
        self.weights, self.half = sae.state.weights, sae.half
        x = batch.to(sae.device, torch.float32) * self.state.factor.float()
        self.target = x - self.weights["b_dec"]
        self.inputs = x if self.recipe.published else self.target
        self.parts = [slice(at, at + sae.rows) for at in range(0, len(x), sae.rows)]
        self.gradient = torch.empty_like(x)
        """Of the loss, by the reconstruction."""
        self.unit = 2 / x.numel()
        self.penalty = penalty_per_token(self.recipe) / len(x)
        self.dense = not self.recipe.sparse
        shape = (len(x), self.recipe.d_sae)
        self.features, self.back = (x.new_empty(shape) if self.dense else None for _ in range(2))

    def run(self) -> None:
        """Change the state."""
        sae, state, recipe = self.sae, self.state, self.recipe
        norms = self._norms()
        tables = self._select()
        explained = list(self.pool.map(self._explain, self.parts, tables, [norms] * len(tables)))
        sae.sums += torch.stack([each[1] for each in explained]).sum(0)
        shifted = self.target - self.target[0]  # of equal activations exactly 0
        sae.sums[2] += (shifted - shifted.mean(0)).double().square().sum()
        entries = None if self.dense else Entries([each[0] for each in explained], recipe.d_sae)
        revival = self._revive()
        state.steps += 1
        rate = recipe.learning_rate(state.steps - 1)
        size = latents_at_a_time(sae.device, sae.d_in)
        blocks = range(0, recipe.d_sae, size)

        def update(start: int) -> Tensor:
            stop = min(start + size, recipe.d_sae)
            return self._update_latents(start, stop, entries, revival, norms, rate)

        through_inputs = list(self.pool.map(update, blocks))
        gradient = self.gradient.sum(0)
        if not recipe.published:
            gradient -= torch.stack(through_inputs).sum(0)
        self._adam("b_dec", slice(None), gradient, rate)
        self._count(entries)

    def reconstruct(self) -> tuple[Tensor, Tensor]:
        """Activations without b_dec, and what the latents write."""
        tables = self._select()
        norms = self._norms()
        list(self.pool.map(self._explain, self.parts, tables, [norms] * len(tables)))
        return self.target, self.gradient / self.unit + self.target

    def _norms(self) -> Tensor | None:
        return self.weights["W_dec"].norm(dim=1) if self.recipe.published else None

    def _pre(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_sae"]:
        """Pre-activations, in bfloat16 with autocast."""
        W_enc, b_enc = self.weights["W_enc"], self.weights["b_enc"]
        if self.half is None:
            return torch.addmm(b_enc, x, W_enc.T)
        return torch.addmm(b_enc.bfloat16(), x.bfloat16(), self.half.T)

    def _exact(
        self, latents: Int[Tensor, "rows width"], x: Float[Tensor, "rows d_in"]
    ) -> Float[Tensor, "rows width"]:
        return row_dots(self.weights["W_enc"], latents, x).add_(self.weights["b_enc"][latents])

    def _select(self) -> list[Table | None]:
        """Active latents of each part; of relu none are listed, but all features computed."""
        if self.recipe.architecture == "relu":
            return [None] * len(self.parts)
        if self.recipe.architecture == "batchtopk":
            return self._strongest_of_batch()
        return list(self.pool.map(self._strongest, self.parts))

    def _strongest(self, part: slice) -> Table:
        x, k = self.inputs[part], self.recipe.k
        if self.half is None:
            values, latents = strongest(self._pre(x), k)
            return values.relu_(), latents
        more = min(self.recipe.d_sae, k + max(EXTRA_CANDIDATES, k // 4))
        _, candidates = strongest(self._pre(x), more)
        best = self._exact(candidates, x).topk(k, dim=1, sorted=False)
        return best.values.relu_(), candidates.gather(1, best.indices)

    def _strongest_of_batch(self) -> list[Table | None]:
        """The k · rows largest of the batch, from all values above a bound that is low enough."""
        wanted = self.recipe.k * len(self.inputs)
        bound = GUESS * float(self.state.threshold)
        found = self._above(bound) if bound > 0 else []
        if sum(len(each[0]) for each in found) < wanted:
            # The k largest of every row are as many as are wanted, so none lies below their least.
            least = self.pool.map(lambda part: self._strongest(part)[0].min(), self.parts)
            bound = float(torch.stack(list(least)).min()) * (1 - 1e-6)
            found = self._above(bound if self.half is None else bound * GUESS)
        rows, latents, values = (torch.cat(each) for each in zip(*found, strict=True))
        chosen = strongest_of_batch(values, wanted)
        rows, latents, values = rows[chosen], latents[chosen], values[chosen]
        bounds = torch.tensor([part.start for part in self.parts[1:]], device=rows.device)
        cuts = torch.searchsorted(rows, bounds).tolist()
        tables: list[Table | None] = []
        for part, first, last in zip(self.parts, [0, *cuts], [*cuts, len(rows)], strict=True):
            here = slice(first, last)
            n_rows = len(self.inputs[part])
            tables.append(in_rows(rows[here] - part.start, latents[here], values[here], n_rows))
        return tables

    def _above(self, bound: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Row, latent and value of all positive values above a bound, part by part."""

        def above(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            x = self.inputs[part]
            pre = self._pre(x)
            rows, latents = (pre > bound).nonzero(as_tuple=True)
            values = pre[rows, latents]
            if self.half is not None:
                some, where = in_rows(rows, latents, values.float(), len(x))
                exact = self._exact(where, x).masked_fill_(some <= 0, 0.0)
                rows, places = (exact > 0).nonzero(as_tuple=True)
                latents, values = where[rows, places], exact[rows, places]
            return rows + part.start, latents, values

        return list(self.pool.map(above, self.parts))

    def _explain(
        self, part: slice, table: Table | None, norms: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Reconstruct some tokens and go back to their latents: (values, latents, back) and sums."""
        W_dec, half = self.weights["W_dec"], self.half is not None
        if self.features is None or self.back is None:
            assert table is not None
            values, latents = table
            error = weighted_sums(W_dec, latents, values) - self.target[part]
            self.gradient[part] = error * self.unit
            back = row_dots(W_dec, latents, self.gradient[part]).mul_(values > 0)
            return (values, latents, back), self._sums(error, values, 0.0)
        features = self.features[part]
        if table is None:
            features.copy_(self._pre(self.inputs[part])).relu_()
        else:
            features.zero_().scatter_add_(1, table[1], table[0])
        error = product(features, W_dec, half) - self.target[part]
        self.gradient[part] = error * self.unit
        back = product(self.gradient[part], W_dec.T, half)
        if self.penalty:
            back += self.penalty if norms is None else self.penalty * norms
        torch.mul(back, features > 0, out=self.back[part])
        weighed = features.sum() if norms is None else (features @ norms).sum()
        return (features, features, back), self._sums(error, features, self.penalty * weighed)

    def _sums(self, error: Tensor, values: Tensor, penalty: Tensor | float) -> Tensor:
        squared = error.double().square().sum()
        active = (values > 0).sum()
        loss = squared * (self.unit / 2) + penalty
        return torch.stack([loss, squared, torch.zeros_like(loss), active.double()])

    def _revive(self) -> Revival | None:
        """Auxiliary loss of the latents that are dead before this update."""
        settings, recipe = self.recipe.settings, self.recipe
        if settings.auxiliary_coefficient == 0 or recipe.architecture == "relu":
            return None
        dead = (self.state.idle >= settings.dead_after).nonzero()[:, 0]
        if len(dead) == 0:
            return None
        k = settings.auxiliary_k or max(1, self.sae.d_in // 2)
        revival = Revival(self.weights, dead, k, settings.auxiliary_coefficient, settings.autocast)
        self.sae.sums[0] += revival.explain(
            self.pool, self.parts, self.inputs, self.gradient, self.unit
        )
        return revival

    def _update_latents(
        self,
        start: int,
        stop: int,
        entries: Entries | None,
        revival: Revival | None,
        norms: Tensor | None,
        rate: float,
    ) -> Float[Tensor, " d_in"]:
        """Update some latents; what the gradient of b_dec gets through them, with the sign turned."""
        rows, recipe = slice(start, stop), self.recipe
        W_enc, W_dec = self.weights["W_enc"][rows], self.weights["W_dec"][rows]
        gradients = self._gradients(start, stop, entries)
        if norms is not None and self.penalty and recipe.frozen != "W_dec":
            assert self.features is not None
            total = self.features[:, rows].sum(0) * self.penalty / norms[rows]
            gradients["W_dec"] += total.unsqueeze(1) * W_dec
        if revival is not None:
            revival.add_to(gradients, start, stop)
        through_inputs = gradients["b_enc"] @ W_enc
        if recipe.frozen != "W_enc":
            self._adam("W_enc", rows, gradients["W_enc"], rate)
            if self.half is not None:
                self.half[rows] = W_enc
        self._adam("b_enc", rows, gradients["b_enc"], rate)
        if recipe.frozen != "W_dec":
            gradient = gradients["W_dec"]
            if self.sae.unit_norm:
                gradient -= (gradient * W_dec).sum(1, keepdim=True) * W_dec
            self._adam("W_dec", rows, gradient, rate)
            if self.sae.start is not None:
                keep_near(W_dec.unsqueeze(0), self.sae.start[rows].unsqueeze(0))
            if self.sae.unit_norm:
                W_dec /= W_dec.norm(dim=1, keepdim=True)
        return through_inputs

    def _gradients(self, start: int, stop: int, entries: Entries | None) -> dict[str, Tensor]:
        frozen, half = self.recipe.frozen, self.half is not None
        found = {}
        if entries is not None:
            if frozen != "W_enc":
                found["W_enc"] = entries.sums(entries.back, self.inputs, start, stop)
            if frozen != "W_dec":
                found["W_dec"] = entries.sums(entries.values, self.gradient, start, stop)
            return found | {"b_enc": entries.bias(start, stop)}
        assert self.features is not None
        assert self.back is not None
        back, features = self.back[:, start:stop], self.features[:, start:stop]
        if frozen != "W_enc":
            found["W_enc"] = product(back.T, self.inputs, half)
        if frozen != "W_dec":
            found["W_dec"] = product(features.T, self.gradient, half)
        return found | {"b_enc": back.sum(0)}

    def _adam(self, name: str, rows: slice, gradient: Tensor, rate: float) -> None:
        adam_update(
            self.weights[name][rows],
            gradient,
            self.state.mean[name][rows],
            self.state.square[name][rows],
            step=self.state.steps,
            learning_rate=rate,
        )

    def _count(self, entries: Entries | None) -> None:
        """Count idle tokens and move the threshold."""
        state = self.state
        state.idle += len(self.inputs)
        if entries is None:
            assert self.features is not None
            state.idle[(self.features > 0).any(0)] = 0
        else:
            state.idle.index_fill_(0, entries.latents, 0)
        if self.recipe.architecture != "batchtopk":
            return
        values = entries.values if entries is not None else self._features_above_0()
        if len(values):
            rate = 1.0 if state.steps == 1 else self.recipe.threshold_rate
            state.threshold += rate * (values.min().double() - state.threshold)

    def _features_above_0(self) -> Float[Tensor, " active"]:
        assert self.features is not None
        return self.features[self.features > 0]
