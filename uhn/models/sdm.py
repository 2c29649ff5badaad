"""Sparse distributed memory: hard locations, counters, and their one-equation form."""

from __future__ import annotations

import copy
import sys
import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from uhn import _core, theory
from uhn.models._base import (
    CODINGS,
    Array,
    Model,
    decode,
    dots,
    encode,
    make_trace,
    read_only,
    real_rows,
    settle,
    take_choice,
    two_state_rows,
)
from uhn.models._schedule import TIES, take_seed, whole
from uhn.results import Recall

__all__ = ["SparseDistributedMemory"]

#: A counter stays where it is when it has come so far.
COUNTER_MAX = 32767

#: Elements that are converted at a time, where all at once would be a copy of everything.
BLOCK = 1 << 22


class SparseDistributedMemory(Model):
    """Kanerva's sparse distributed memory.

    H hard locations have fixed random addresses A and a counter for every bit of a word. A
    location is *active* for an address x if it is within the radius of it, in bits, the radius
    included::

        active(x) = {k : hamming(A_k, x) <= radius}
        write (x, y):  C_k += y           for every active location k
        read (q):      sign(sum of C_k over the locations active for q)

    which is ``sign(P . thresh(hamming(A, q)))`` with ``P = sum_t y_t . thresh(hamming(A,
    x_t))^T``. Words that are their own addresses make the memory autoassociative; then a read
    may be read again, which is what `recall` does until nothing changes.

    With ``n_locations=None`` and no `locations` it is the equation alone, without hard
    locations: addresses and words are kept as they are stored, ``sign(sum of y_t with
    hamming(x_t, q) <= radius)``. `equation` gives the `uhn.Memory` of either form.

    Parameters
    ----------
    n_features : int
        Bits of an address.
    n_locations : int, optional
        H. None: the number of `locations`, or none at all.
    radius : int, optional
        From 0 to n_features, inclusive. It or `activation` has to be given.
    activation : float, optional
        The part of all addresses that is to be within the radius, in its place: the radius
        whose probability is nearest (`uhn.theory.sdm_radius`). The best for T items is
        `uhn.theory.sdm_optimal_activation`.
    write_radius : int, optional
        For writing, if it is to be another one. Not without hard locations.
    word_length : int, optional
        Bits of a word; `n_features` if not given.
    locations : array_like, shape (n_locations, n_features), optional
        Addresses of the hard locations, instead of random ones.
    coding : {"bipolar", "binary"}
        Whether bits are written -1 and +1, or 0 and 1. Anything else is refused.
    tie : {"keep", "+1", "-1"}, optional
        What a bit becomes whose sum is 0, and so all bits of a query without an active
        location: the query's own bit, or always the same. "keep" needs words as long as
        addresses, and is then the default, else "-1" (0 in binary coding, as Kanerva's).
    seed : int, default 0
        From 0 to 2**64 - 1: random addresses follow from it. Location k is the same whatever
        n_locations is.

    Notes
    -----
    Addresses are kept as bits and counters as int16, which stop at -32767 and 32767 instead of
    wrapping (`n_saturated`); sums are exact. An answer does not depend on the batch, the
    number of threads or the CPU. Nobody may write to a memory while somebody else reads it.

    What to expect of it is in `uhn.theory`: `sdm_activation`, `sdm_bit_error`,
    `sdm_critical_distance`, `sdm_capacity` and what they are made of.

    Source: Kanerva, Sparse Distributed Memory, MIT Press 1988; as an equation: Millidge et al.,
    ICML 2022, arXiv 2202.04557.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.models import SparseDistributedMemory
    >>> words = np.where(np.random.default_rng(1).random((20, 256)) < 0.5, 1, -1)
    >>> memory = SparseDistributedMemory(256, 10_000, activation=0.005)
    >>> _ = memory.store(words)
    >>> query = words[3].copy()
    >>> query[:60] *= -1
    >>> memory.recall(query)
    Recall(1 query of 256 features: fixed point; 2 steps)
    >>> bool((memory.recall(query).state == words[3]).all())
    True
    """

    _parameters = (
        "n_features",
        "n_locations",
        "radius",
        "write_radius",
        "word_length",
        "locations",
        "coding",
        "tie",
        "seed",
    )

    def __init__(
        self,
        n_features: int,
        n_locations: int | None = None,
        *,
        radius: int | None = None,
        activation: float | None = None,
        write_radius: int | None = None,
        word_length: int | None = None,
        locations: npt.ArrayLike | None = None,
        coding: str = "bipolar",
        tie: str | None = None,
        seed: int = 0,
    ) -> None:
        self.n_features = whole(n_features, "n_features", 1)
        self.word_length = (
            self.n_features if word_length is None else whole(word_length, "word_length", 1)
        )
        self.coding = take_choice(coding, "coding", CODINGS)
        self.seed = take_seed(seed)
        if (radius is None) == (activation is None):
            raise ValueError(
                "pass radius=, or activation= in its place: a probability, of which "
                "uhn.theory.sdm_optimal_activation(n_locations, n_patterns) is the best"
            )
        if activation is not None:
            radius = theory.sdm_radius(self.n_features, activation)
        self.radius = self._take_radius(radius, "radius")
        if tie is None:
            tie = "keep" if self.word_length == self.n_features else "-1"
        self.tie = take_choice(tie, "tie", TIES)
        if tie == "keep" and self.word_length != self.n_features:
            raise ValueError(
                f"tie='keep' takes the query's bit, but words have {self.word_length} bits and "
                f"addresses {self.n_features}; use tie='-1' or '+1'"
            )

        n_words = (self.n_features + 63) // 64
        self._given = locations is not None
        self._n_written = 0
        if locations is None and n_locations is None:
            if write_radius is not None:
                raise ValueError(
                    "write_radius is for hard locations: without them writing keeps the "
                    "address itself; pass n_locations or locations"
                )
            self.n_locations = None
            self.write_radius = None
            self._addresses = np.empty((0, n_words), dtype=np.uint64)
            self._counters = np.empty((0, self.word_length), dtype=np.int16)
            return
        self.write_radius = (
            self.radius
            if write_radius is None
            else self._take_radius(write_radius, "write_radius")
        )
        if locations is not None:
            given = np.asarray(locations)
            if given.ndim != 2 or given.shape[1] != self.n_features or len(given) == 0:
                raise ValueError(
                    f"locations have shape {given.shape}; they are (n_locations, n_features) = "
                    f"({'n' if n_locations is None else n_locations}, {self.n_features})"
                )
            if n_locations is not None and whole(n_locations, "n_locations", 1) != len(given):
                raise ValueError(f"n_locations is {n_locations}, but there are {len(given)}")
            n_locations = len(given)
        self.n_locations = whole(n_locations, "n_locations", 1)
        if self.n_locations * (8 * n_words + 2 * self.word_length) > sys.maxsize // 2:
            raise ValueError(
                f"n_locations is {n_locations}: addresses and counters of so many cannot be "
                "addressed"
            )
        self._addresses = np.empty((self.n_locations, n_words), dtype=np.uint64)
        step = max(1, BLOCK // self.n_features)
        for start in range(0, self.n_locations, step):
            block = self._addresses[start : start + step]
            if locations is None:
                _core._sdm_addresses(self.seed, start, self.n_features, block)
            else:
                name = f"locations[{start}:{start + len(block)}]"
                rows, _ = real_rows(given[start : start + step], self.n_features, name)
                block[:] = _core._pack_rows(encode(rows, self.coding, name))
        # Zeros that are written: pages that the system has still to clear would all be met by
        # the first write, which cannot be stopped between its rows.
        self._counters = np.empty((self.n_locations, self.word_length), dtype=np.int16)
        step = max(1, BLOCK // self.word_length)
        for start in range(0, self.n_locations, step):
            self._counters[start : start + step] = 0

    # ------------------------------------------------------------------------- what there is --

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, by name; addresses only if they were given."""
        config = {name: getattr(self, name) for name in self._parameters if name != "locations"}
        config["locations"] = self.locations if self._given else None
        return {name: config[name] for name in self._parameters}

    def __repr__(self) -> str:
        config = self.get_config()
        if self._given:
            config["locations"] = "..."
        text = ", ".join(f"{name}={value!r}" for name, value in config.items())
        return f"{type(self).__name__}({text})".replace("'...'", "...")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        # Room for more rows stays here.
        state["_addresses"], state["_counters"] = self._rows()
        return state

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    @property
    def n_patterns(self) -> int:
        """How many words were written."""
        return self._n_written

    @property
    def patterns(self) -> Array:
        """The addresses stored, int8, (n_patterns, n_features), read-only; equation form only.

        Hard locations do not keep them: their counters are sums of all words.
        """
        if self.n_locations is not None:
            raise AttributeError(
                "hard locations keep sums of words, not the patterns; see counters and "
                "locations"
            )
        return self.locations

    @property
    def locations(self) -> Array:
        """Addresses of the locations, int8, (n_locations, n_features), read-only.

        Unpacked at every access. In the equation form these are the addresses stored.
        """
        return read_only(_unpack(self._rows()[0], self.n_features, self.coding, np.int8))

    @property
    def counters(self) -> npt.NDArray[np.int16]:
        """The counters, int16, (n_locations, word_length): a read-only view.

        In the equation form these are the words stored, as +1 and -1.
        """
        return read_only(self._rows()[1].view())

    @property
    def n_saturated(self) -> int:
        """How many counters are at -32767 or 32767, and so may have missed something."""
        counters = self._rows()[1]
        step = max(1, BLOCK // self.word_length)
        blocks = (counters[i : i + step] for i in range(0, len(counters), step))
        return sum(int((np.abs(block) >= COUNTER_MAX).sum()) for block in blocks)

    def equation(self) -> _core.Memory:
        """The memory ``uhn.Memory(A, P, similarity="hamming", separation="threshold")`` it is.

        A are the addresses of the locations and P their counters (or the addresses and words
        stored), both as +1 and -1 in float64, with ``theta=-radius``; the sign of what it
        retrieves is what `read` answers. A copy, 64 times the size of the addresses.

        Raises
        ------
        ValueError
            If nothing was stored.
        """
        addresses, counters = self._asked()
        return _core.Memory(
            _unpack(addresses, self.n_features, "bipolar", np.float64),
            counters.astype(np.float64),
            similarity="hamming",
            separation="threshold",
            theta=-float(self.radius),
        )

    # ---------------------------------------------------------------------------- in and out --

    def store(self, addresses: npt.ArrayLike, words: npt.ArrayLike | None = None) -> Self:
        """Write words at addresses, one after the other.

        Parameters
        ----------
        addresses : array_like, shape (n, n_features) or (n_features,)
        words : array_like, shape (n, word_length) or (word_length,), optional
            The addresses themselves if not given.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            For shapes that do not fit, or numbers that the coding does not have.
        KeyboardInterrupt
            Hard locations have then taken the first `n_patterns` words of all calls, and
            nothing of the others.

        Warns
        -----
        RuntimeWarning
            If no hard location is within the radius of an address: that word is lost.
        """
        bits, _, _ = two_state_rows(addresses, self.n_features, self.coding, "addresses")
        if words is None:
            if self.word_length != self.n_features:
                raise ValueError(
                    f"words are needed: they have {self.word_length} bits, addresses "
                    f"{self.n_features}"
                )
            word_bits = bits
        else:
            word_rows, _ = real_rows(words, self.word_length, "words")
            if len(word_rows) != len(bits):
                raise ValueError(
                    f"there are {len(bits)} addresses and {len(word_rows)} words; one each"
                )
            word_bits = encode(word_rows, self.coding, "words")
        if len(bits) == 0:
            return self
        if self.write_radius is None:
            self._append(bits, word_bits)
            return self
        written = np.zeros(1, dtype=np.int64)
        try:
            active = _core._sdm_write(
                self._addresses,
                self._counters,
                self.n_features,
                self.write_radius,
                bits,
                word_bits,
                written,
            )
        finally:
            self._n_written += int(written[0])
        lost = int((active == 0).sum())
        if lost:
            warnings.warn(
                f"{lost} of {len(active)} words have no location within {self.write_radius} "
                "bits of their address and are lost; use a larger radius, or more locations",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def retrieve(self, queries: npt.ArrayLike, n_steps: int = 1) -> Array:
        """Read words.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 1
            Exactly so many reads, each at what the one before it answered.

        Returns
        -------
        ndarray, shape (n_queries, word_length) or (word_length,)
            In the memory's coding; float32 for float32 queries, else float64. Where no
            location is active all bits are ties.

        Raises
        ------
        ValueError
            If nothing was stored; for shapes that do not fit, or numbers that the coding does
            not have; for more than one step where words are not as long as addresses.
        """
        n_steps = whole(n_steps, "n_steps", 0)
        if n_steps != 1:
            self._check_iterable("n_steps other than 1")
        states, single, dtype = self._take(queries)
        addresses, counters = self._asked()
        for _ in range(n_steps):
            states, _active = _core._sdm_read(
                addresses, counters, self.n_features, self.radius, states, self.tie, "words"
            )
        result = decode(states, self.coding, dtype)
        return result[0] if single else result

    write = store
    read = retrieve

    def recall(
        self, queries: npt.ArrayLike, n_steps: int = 100, *, trace: bool = False
    ) -> Recall:
        """Read until the word is its own answer, each query on its own.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        n_steps : int, default 100
            The most reads.
        trace : bool, default False
            Keep the states on the way.

        Returns
        -------
        Recall
            Its status is 'no active location' where a read found none. It knows overlaps and
            weights of its memories in the equation form only.

        Raises
        ------
        ValueError
            As `retrieve`.
        """
        n_steps = whole(n_steps, "n_steps", 0)
        self._check_iterable("recall")
        states, single, dtype = self._take(queries)
        addresses, counters = self._asked()

        def step(now: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
            after, active = _core._sdm_read(
                addresses, counters, self.n_features, self.radius, now, self.tie, "words"
            )
            return after, active > 0

        state, steps, codes, change, asked, way = settle(
            step, states, n_steps=n_steps, trace=trace
        )
        source = _Source(
            addresses, self.n_features, self.radius, self.coding, self.n_locations is None
        )
        if self.coding == "binary":
            change = change / 2
        return Recall.of_batch(
            decode(state, self.coding, dtype),
            steps,
            codes,
            change,
            single=single,
            source=source,
            asked=decode(asked, self.coding, dtype),
            trace=make_trace(
                [decode(states, self.coding, dtype) for states in way],
                None,
                source.overlaps if self.n_locations is None else None,
            ),
        )

    def sums(self, queries: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """What a read takes the signs of: the counters of the active locations, added up.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)

        Returns
        -------
        ndarray of int64, shape (n_queries, word_length) or (word_length,)

        Raises
        ------
        ValueError
            If nothing was stored, for shapes that do not fit, or numbers that the coding does
            not have.
        """
        states, single, _ = self._take(queries)
        addresses, counters = self._asked()
        sums, _active = _core._sdm_read(
            addresses, counters, self.n_features, self.radius, states, self.tie, "sums"
        )
        result: npt.NDArray[np.int64] = sums
        return result[0] if single else result

    def active(self, queries: npt.ArrayLike, *, indices: bool = False) -> Any:
        """The locations within the radius of each query.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features) or (n_features,)
        indices : bool, default False
            Which, instead of how many.

        Returns
        -------
        ndarray of int64, shape (n_queries,), or int for a 1-D query
            Their number; with `indices` a list of arrays, or one array, of their indices in
            ascending order.

        Raises
        ------
        ValueError
            For shapes that do not fit, or numbers that the coding does not have; in the
            equation form if nothing was stored.
        """
        states, single, _ = self._take(queries)
        addresses, counters = self._rows()
        if len(addresses) == 0:
            self._asked()
        if not indices:
            _none, active = _core._sdm_read(
                addresses, counters, self.n_features, self.radius, states, self.tie, "active"
            )
            return int(active[0]) if single else active
        found: list[npt.NDArray[np.int64]] = []
        step = max(1, BLOCK // len(addresses))
        for i in range(0, len(states), step):
            flags = _core._sdm_active(
                addresses, self.n_features, self.radius, states[i : i + step]
            )
            found += [np.flatnonzero(row) for row in flags]
        return found[0] if single else found

    def energy(self, states: npt.ArrayLike) -> Array:
        """There is none.

        Raises
        ------
        ValueError
            Always: the sums of a threshold are no gradient once only their signs are kept, and
            a majority over counters can go around in circles.
        """
        raise ValueError(
            "a sparse distributed memory has no energy: it answers with the majority of its "
            "active locations, and no function of the state is known to fall at every read"
        )

    def lyapunov(self, mode: str = "sync") -> bool:
        """Whether an energy cannot rise: False, as there is none.

        Parameters
        ----------
        mode : {"sync"}
            All bits of a word are read at once.

        Returns
        -------
        bool
        """
        take_choice(mode, "mode", ("sync",))
        return False

    # ------------------------------------------------------------------------------- private --

    def _take_radius(self, radius: Any, name: str) -> int:
        number = whole(radius, name, 0)
        if number > self.n_features:
            raise ValueError(
                f"{name} is {number}, but addresses of {self.n_features} bits are at most "
                f"{self.n_features} apart"
            )
        return number

    def _take(self, queries: npt.ArrayLike) -> tuple[npt.NDArray[np.int8], bool, Any]:
        return two_state_rows(queries, self.n_features, self.coding, "queries")

    def _rows(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
        """Addresses and counters that are in use."""
        if self.n_locations is not None:
            return self._addresses, self._counters
        return self._addresses[: self._n_written], self._counters[: self._n_written]

    def _asked(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
        if self._n_written == 0:
            raise ValueError("nothing was written to this memory yet; store something first")
        return self._rows()

    def _check_iterable(self, what: str) -> None:
        if self.word_length != self.n_features:
            raise ValueError(
                f"{what} reads at the word that was read, but words have {self.word_length} "
                f"bits and addresses {self.n_features}; use retrieve with n_steps=1"
            )

    def _append(self, bits: npt.NDArray[np.int8], words: npt.NDArray[np.int8]) -> None:
        """Rows of the equation form. What a recall has seen of the arrays stays as it was."""
        n, total = self._n_written, self._n_written + len(bits)
        if total > len(self._addresses):
            room = max(total, 2 * len(self._addresses))
            addresses = np.empty((room, self._addresses.shape[1]), dtype=np.uint64)
            counters = np.empty((room, self.word_length), dtype=np.int16)
            addresses[:n], counters[:n] = self._rows()
            self._addresses, self._counters = addresses, counters
        self._addresses[n:total] = _core._pack_rows(bits)
        self._counters[n:total] = words
        self._n_written = total


def _unpack(
    addresses: npt.NDArray[np.uint64], n_features: int, coding: str, dtype: npt.DTypeLike
) -> Array:
    """Packed rows in a coding."""
    in_bytes = addresses.astype("<u8", copy=False).view(np.uint8)
    bits = np.unpackbits(in_bytes, axis=1, count=n_features, bitorder="little")
    rows: Array = bits.astype(dtype)
    if coding == "bipolar":
        rows *= 2
        rows -= 1
    return rows


class _Source:
    """What a recall asks about the memories of the equation form."""

    def __init__(
        self,
        addresses: npt.NDArray[np.uint64],
        n_features: int,
        radius: int,
        coding: str,
        kept: bool,
    ) -> None:
        self._addresses = addresses
        self._n_features = n_features
        self._radius = radius
        self._coding = coding
        self._kept = kept

    def overlaps(self, states: Array) -> Array:
        bits = self._take(states)
        patterns = _unpack(self._addresses, self._n_features, "bipolar", np.int8)
        return np.asarray(dots(patterns, bits) / self._n_features)

    def weights(self, states: Array) -> Array:
        active = _core._sdm_active(
            self._addresses, self._n_features, self._radius, self._take(states)
        )
        return active.astype(np.float64)

    def energy(self, states: Array) -> Array:
        raise ValueError("a sparse distributed memory has no energy")

    def _take(self, states: Array) -> npt.NDArray[np.int8]:
        if not self._kept:
            raise ValueError(
                "hard locations keep sums of words, not the words: there is nothing to weigh; "
                "see SparseDistributedMemory.active for the locations"
            )
        return encode(np.atleast_2d(states), self._coding, "states")
