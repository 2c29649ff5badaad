"""How the benchmarks measure: checked answers, interleaved rounds, ratios within one process.

A benchmark is a function of a :class:`Bench`. It makes its data, checks every answer, and then
lets ``bench.race`` time `uhn` and its contenders in turns.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import uhn

Array = np.ndarray
Call = Callable[[], object]

MEBIBYTE = 2**20


class WrongAnswerError(Exception):
    """An answer is outside its bound, so that its time means nothing."""


class SkipRowError(Exception):
    """A row cannot run here; the message says why."""


@dataclass(frozen=True)
class Goal:
    """What a ratio should reach: ``least`` for a gain, ``most`` for a cost, ``aim`` at best."""

    least: float | None = None
    most: float | None = None
    aim: float | None = None

    def met(self, ratio: float) -> bool:
        """Whether the ratio reaches the goal (not the aim)."""
        if self.least is not None:
            return ratio >= self.least
        return self.most is None or ratio <= self.most

    def __str__(self) -> str:
        text = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        return text if self.aim is None else f"{text}, aim {self.aim:g}"


@dataclass(frozen=True)
class Contender:
    """What `uhn` is compared with.

    Parameters
    ----------
    name : str
        As printed.
    run : callable
        Does the work once.
    goal : Goal or None
        None where the ratio is given for information.
    scale : float
        The whole work divided by the work `run` does. More than 1 where a contender is timed on
        some of the queries; allowed only where its time is proportional to their number.
    cost : bool
        Divide our time by the contender's (a goal of the form "at most") instead of the other
        way round.
    """

    name: str
    run: Call
    goal: Goal | None = None
    scale: float = 1.0
    cost: bool = False


@dataclass
class Bench:
    """One benchmark in one process with one number of threads; collects what was found."""

    threads: int = 1
    quick: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # ------------------------------------------------------------------------------ set-up --

    @property
    def clock(self) -> str:
        """CPU time for one thread, as the machine may be shared; wall time for more."""
        return "CPU" if self.threads == 1 else "wall"

    def pick(self, full: int, quick: int) -> int:
        """A size: the stated one, or the small one of a quick run."""
        return quick if self.quick else full

    def needs(self, n_bytes: float) -> None:
        """Leave the row out where the machine has not this much memory to give."""
        available = available_bytes()
        if available is not None and available < 1.2 * n_bytes:
            raise SkipRowError(
                f"needs {n_bytes / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are available"
            )

    def skip(self, contender: str, reason: str) -> None:
        """Leave one contender out, and say so."""
        self.skipped.append({"contender": contender, "reason": reason})

    def set_threads(self) -> None:
        """The same number of threads for everybody that is loaded by now."""
        threadpool_limits(limits=self.threads)
        uhn.set_num_threads(self.threads)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(self.threads)
        for pool in threadpool_info():
            if pool["num_threads"] != self.threads:
                raise RuntimeError(f"{pool['filepath']} uses {pool['num_threads']} threads")
        if uhn.get_num_threads() != self.threads:
            raise RuntimeError(f"uhn uses {uhn.get_num_threads()} threads")

    # ------------------------------------------------------------------------- verification --

    def check(self, what: str, got: Any, want: Any, bound: float) -> None:
        """Compare an answer with another one.

        Parameters
        ----------
        what : str
            Which two are compared.
        got, want : array_like
            The answers, of the same shape.
        bound : float
            The largest absolute difference allowed.

        Raises
        ------
        WrongAnswerError
            If the difference is larger, or is not a number.
        """
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            raise WrongAnswerError(f"{what}: shape {got.shape} instead of {want.shape}")
        difference = float(np.max(np.abs(got - want))) if got.size else 0.0
        self.checks.append({"what": what, "difference": difference, "bound": float(bound)})
        # Written this way round so that a NaN does not pass.
        if not difference <= bound:
            raise WrongAnswerError(f"{what}: differs by {difference:.3g}, bound {bound:.3g}")

    # ------------------------------------------------------------------------------- timing --

    def rounds(self, calls: Sequence[Call], *, seconds: float = 20.0) -> Array:
        """Time some calls in turns: A B C, then C B A, and so on.

        Parameters
        ----------
        calls : sequence of callables
            Each is run once to warm up, and once more to find how often it has to be repeated
            to be measurable.
        seconds : float
            About how long all of it may take. There are at least 5 rounds (quick: 3), however
            long they take, and at most 21.

        Returns
        -------
        ndarray of shape (n_rounds, n_calls)
            Seconds for one run of each call.
        """
        self.set_threads()
        repeats = []
        total = 0.0
        enough = 0.005 if self.quick else 0.05
        for call in calls:
            call()
            once = max(self._time(call, 1), 1e-7)
            if once < enough:
                # The second run of something short may still be a cold one.
                once = max(self._time(call, math.ceil(0.1 * enough / once)), 1e-7)
            repeats.append(max(1, math.ceil(enough / once)))
            total += max(once, enough)
        fewest, most = (3, 5) if self.quick else (5, 21)
        n_rounds = min(most, max(fewest, int((1.0 if self.quick else seconds) / total)))
        times = np.empty((n_rounds, len(calls)))
        for i in range(n_rounds):
            order = range(len(calls)) if i % 2 == 0 else reversed(range(len(calls)))
            for j in order:
                times[i, j] = self._time(calls[j], repeats[j])
        return times

    def _time(self, call: Call, n: int) -> float:
        """Mean time of n runs."""
        now = time.process_time if self.threads == 1 else time.perf_counter
        if self.threads > 1:
            # Workers of another library's pool may still be spinning for their next job.
            time.sleep(0.05)
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            start = now()
            for _ in itertools.repeat(None, n):
                call()
            return (now() - start) / n
        finally:
            if was_enabled:
                gc.enable()

    def race(
        self,
        ours: Call,
        contenders: Sequence[Contender],
        *,
        flops: float | None = None,
        seconds: float = 20.0,
    ) -> None:
        """Time `uhn` and the contenders in turns, and note a result for each of them.

        Parameters
        ----------
        ours : callable
            The work, done by `uhn`.
        contenders : sequence of Contender
            Those who do the same work, or a stated part of it.
        flops : float, optional
            Operations of the whole work, for the rate in the result.
        seconds : float
            About how long the rounds may take.
        """
        times = self.rounds([ours, *(one.run for one in contenders)], seconds=seconds)
        for j, one in enumerate(contenders, start=1):
            theirs = times[:, j] * one.scale
            ratios = times[:, 0] / theirs if one.cost else theirs / times[:, 0]
            self.record(
                one.name,
                ratios,
                goal=one.goal,
                cost=one.cost,
                uhn_seconds=float(np.median(times[:, 0])),
                contender_seconds=float(np.median(theirs)),
                scale=one.scale,
                gflops=flops / float(np.median(times[:, 0])) / 1e9 if flops else None,
            )

    def record(
        self,
        contender: str,
        ratios: Any,
        *,
        goal: Goal | None = None,
        cost: bool = False,
        unit: str = "time",
        **more: Any,
    ) -> None:
        """Note one line of the table: the median of the ratios, the lowest and the highest."""
        ratios = np.atleast_1d(np.asarray(ratios, dtype=float))
        ratio = float(np.median(ratios))
        self.results.append(
            {
                "contender": contender,
                "threads": self.threads,
                "clock": self.clock if unit == "time" else "-",
                "unit": unit,
                "ratio": ratio,
                "lowest": float(ratios.min()),
                "highest": float(ratios.max()),
                "n_pairs": len(ratios),
                "of": "uhn / contender" if cost else "contender / uhn",
                "goal": None if goal is None else str(goal),
                # A small shape says nothing about a goal that is set for a large one.
                "met": None if goal is None or self.quick else goal.met(ratio),
                **more,
            }
        )


# ------------------------------------------------------------------------------- environment --


def blas_of_numpy() -> dict[str, Any]:
    """The OpenBLAS behind NumPy; call it before any other library that brings one is imported.

    Raises
    ------
    RuntimeError
        If it is not OpenBLAS. With the reference BLAS that some distributions install, every
        comparison would flatter us 20 to 50 times.
    """
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if len(pools) != 1 or pools[0]["internal_api"] != "openblas":
        found = ", ".join(str(pool["internal_api"]) for pool in pools) or "none that is known"
        raise RuntimeError(
            f"NumPy's BLAS has to be OpenBLAS for a fair comparison, not {found}"
        )
    keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return {
        **{key: pools[0].get(key) for key in keys},
        "file": os.path.basename(pools[0]["filepath"]),
    }


def available_bytes() -> int | None:
    """Memory that can be had without swapping, or None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def peak_bytes() -> int:
    """The largest resident size this process has had so far."""
    try:
        # Not ru_maxrss where it can be avoided: that is inherited from the parent process.
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def n_cpus() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# -------------------------------------------------------------------------------------- data --


def gaussian(rng: np.random.Generator, *shape: int) -> Array:
    """Standard normal float32 numbers, made in place: no float64 copy raises the peak."""
    return rng.standard_normal(shape, dtype=np.float32)


def softmax_reference(queries: Array, patterns: Array, beta: float) -> Array:
    """Softmax retrieval in float64, some rows at a time.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features)
    patterns : ndarray of shape (n_patterns, n_features)
    beta : float

    Returns
    -------
    ndarray of shape (n_queries, n_features), float64
    """
    queries = queries.astype(np.float64)
    scores = np.empty((len(queries), len(patterns)))
    step = 4096
    for start in range(0, len(patterns), step):
        stop = start + step
        scores[:, start:stop] = queries @ patterns[start:stop].astype(np.float64).T
    weights = np.exp(beta * (scores - scores.max(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    answer = np.zeros((len(queries), patterns.shape[1]))
    for start in range(0, len(patterns), step):
        stop = start + step
        answer += weights[:, start:stop] @ patterns[start:stop].astype(np.float64)
    return answer
