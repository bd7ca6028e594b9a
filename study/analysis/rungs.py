"""Rungs: what ASHA cut and when, and how well the order after an early epoch foretold the last one.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020). The correlations are over completed trials
alone. Those survived the very cuts that are judged here, so they are alike, and alike trials change places more easily:
over all trials the order would have been steadier. What became of a trial that was cut, nobody knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.analysis.settings import valued
from study.records import Study, Trial
from study.seeds import derive

REDUCTION = 4  # ASHA keeps one in so many at each rung; rungs lie at 1, 4, 16 ... epochs
LEAST_COMPLETED = 5
RESAMPLES = 2000


@dataclass(frozen=True)
class Rung:
    """What happened after an epoch at which ASHA compares trials."""

    epoch: int
    reached: int  # trials that finished the epoch
    cut: int  # of them, pruned here
    went_on: int  # of them, trained further; neither cut nor gone on are those that failed or met the end of the search
    best_cut: float | None  # highest objective here of a trial that was cut
    least_kept: float | None  # lowest objective here of a trial that went on


@dataclass(frozen=True)
class Ranking:
    """How completed trials stood after an epoch, against how they stood after their last."""

    epoch: int
    trials: int
    spearman: float | None  # None where all values are equal
    low: float | None  # its 95 % bootstrap interval over trials
    high: float | None
    kendall: float | None  # tau-b
    kept: float  # of REDUCTION completed trials drawn at random, the chance that the leader here leads at the end
    lost: float  # and how much lower the leader's last objective is than the highest of them, on average


def rung_epochs(study: Study) -> tuple[int, ...]:
    """The epochs after which ASHA may stop a trial."""
    epochs = []
    at = study.grace_epochs
    while at < study.epochs:
        epochs.append(at)
        at *= REDUCTION
    return tuple(epochs)


def rungs(study: Study, trials: Sequence[Trial]) -> tuple[Rung, ...]:
    """The rungs that a trial reached."""
    return tuple(_rung(epoch, trials) for epoch in rung_epochs(study) if any(t.epochs >= epoch for t in trials))


def rankings(trials: Sequence[Trial], seed: int) -> tuple[Ranking, ...]:
    """How well each epoch but the last ranked the completed trials; empty with fewer than five of them."""
    completed = [trial for trial in valued(trials) if trial.status == "completed"]
    last = max((trial.epochs for trial in completed), default=0)
    completed = [trial for trial in completed if trial.epochs == last]
    if len(completed) < LEAST_COMPLETED:
        return ()
    values = np.array([[epoch.objective for epoch in trial.history] for trial in completed])  # (N, epochs)
    random = np.random.default_rng(derive(seed, "rankings"))
    drawn = random.integers(len(values), size=(RESAMPLES, len(values)))
    return tuple(_ranking(epoch, values[:, epoch - 1], values[:, -1], drawn) for epoch in range(1, last))


def _rung(epoch: int, trials: Sequence[Trial]) -> Rung:
    reached = [trial for trial in trials if trial.epochs >= epoch]
    cut = [trial.history[-1].objective for trial in reached if trial.status == "pruned" and trial.epochs == epoch]
    kept = [trial.history[epoch - 1].objective for trial in reached if trial.epochs > epoch]
    return Rung(epoch, len(reached), len(cut), len(kept), max(cut, default=None), min(kept, default=None))


def _ranking(epoch: int, early: NDArray[np.float64], late: NDArray[np.float64], drawn: NDArray[np.int64]) -> Ranking:
    resampled = _spearman(early[drawn], late[drawn])
    known = resampled[np.isfinite(resampled)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
    (rho,) = _spearman(early[None], late[None])
    varied = bool(np.isfinite(rho))
    from scipy.stats import kendalltau  # here, as below: it takes a second

    tau = float(kendalltau(early, late).statistic) if varied else math.nan
    kept, lost = _one_cut(early, late)
    return Ranking(
        epoch, len(early), _known(rho), _known(low) if varied else None, _known(high) if varied else None, _known(tau),
        kept, lost,
    )  # fmt: skip


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation of each row, (R, N) and (R, N) -> (R,); NaN where a row does not vary."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second))
    spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    rho: NDArray[np.float64] = np.divide((a * b).sum(1), spread, out=np.full(len(a), math.nan), where=spread > 0)
    return rho


def _one_cut(early: NDArray[np.float64], late: NDArray[np.float64]) -> tuple[float, float]:
    """Chance that the leader is kept, and the mean loss, over all sets of REDUCTION trials.

    A trial leads as many sets as it has ways to choose the others from those behind it. Of equal values the earlier
    trial's leads, as it is the first to reach the rung; at the end equal values are equally good.
    """
    n = len(early)
    sets = math.comb(n, REDUCTION)
    order = np.lexsort((np.arange(n), -early))  # best first
    kept, leaders, best = 0, 0.0, 0.0
    for place, leader in enumerate(order):
        behind = order[place + 1 :]
        leads = math.comb(len(behind), REDUCTION - 1)
        kept += math.comb(int((late[behind] <= late[leader]).sum()), REDUCTION - 1)
        leaders += leads * late[leader]
    for place, value in enumerate(np.sort(late)[::-1]):
        best += math.comb(n - place - 1, REDUCTION - 1) * value
    return kept / sets, float(best - leaders) / sets


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
