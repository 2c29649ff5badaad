"""The Hopfield network of graded neurons (Hopfield 1984), and of Hopfield and Tank (1985).

    C u_i' = -u_i / R + sum_j W_ij V_j + I_i,     V = g(u)

With symmetric W and increasing g the energy

    E = -1/2 V.W V - I.V + (1/R) sum_i int_0^V_i g^-1(x) dx

never rises. For g(u) = tanh(lambda u) the integral is u V - log cosh(lambda u) / lambda.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models import _flow
from uhn.models._base import CODINGS, Model, encode, read_only, real_rows, take_choice
from uhn.models._flow import Parts, Term, Trajectory

__all__ = ["ContinuousHopfieldNetwork"]

Array = npt.NDArray[Any]

ACTIVATIONS = ("tanh", "clip")
SCALES = ("neurons", "patterns", "none")


class ContinuousHopfieldNetwork(Model):
    """Graded neurons in continuous time: the Hopfield network of 1984.

    ``C du/dt = -u / R + W V + I`` with potentials u and outputs V = tanh(gain u), between -1
    and 1; or, coded in binary, (1 + tanh(gain u)) / 2, between 0 and 1. As the gain grows, the
    stable states go to corners of the cube that are fixed points of the two-state network of
    the same weights; as it falls below a critical value, all of them merge into one.

    *States* are potentials u: a query of +1 and -1, or with 0 for what is not known, is one as
    it stands. `retrieve` gives outputs V.

    Parameters
    ----------
    gain : float, default 10
        lambda, of 'tanh'. Hopfield and Tank's u_0 is 1 / gain.
    resistance, capacitance : float, default 1
        R and C; R C is the time constant.
    activation : {"tanh", "clip"}
        "clip" is the projected gradient: states are outputs V themselves, kept in the cube by
        putting back what a step carries beyond. Usually without a leak, as in the optimising
        networks of Talavan and Yanez (2002).
    coding : {"bipolar", "binary"}
        Outputs between -1 and 1, or between 0 and 1.
    leak : bool, default True
        Whether the term -u / R is there.
    scale : {"neurons", "patterns", "none"}
        What `store` divides the sum of outer products by, as in `HopfieldNetwork`.

    Notes
    -----
    `store` is Hebb's rule, W = sum xi xi^T / scale with a diagonal of 0, of patterns
    written as +1 and -1. In binary coding 2 V - 1 takes the place of the state: the bias
    becomes -W 1 / 2, under which fields are half of those of the bipolar network.

    Steps must be below 2 R C (see `run`). Without a leak no such limit is known beforehand: for
    "clip" steps below 2 C divided by the largest eigenvalue of -W never raise the energy.

    Sources: Hopfield, PNAS 81:3088 (1984); Hopfield and Tank, Biological Cybernetics 52:141
    (1985); Talavan and Yanez, Neural Networks 15:363 (2002).

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.models import ContinuousHopfieldNetwork
    >>> network = ContinuousHopfieldNetwork(gain=5.0)
    >>> _ = network.store([[1, 1, 1, 1, -1, -1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]])
    >>> np.round(network.retrieve([1, 1, 1, 0, 0, -1, -1, -1]), 2)
    array([ 1.,  1.,  1.,  1., -1., -1., -1., -1.])
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "gain",
        "resistance",
        "capacitance",
        "activation",
        "coding",
        "leak",
        "scale",
    )

    def __init__(
        self,
        *,
        gain: float | None = None,
        resistance: float = 1.0,
        capacitance: float = 1.0,
        activation: str = "tanh",
        coding: str = "bipolar",
        leak: bool = True,
        scale: str = "neurons",
    ) -> None:
        self.activation = take_choice(activation, "activation", ACTIVATIONS)
        if gain is not None and activation != "tanh":
            raise ValueError(f"activation {activation!r} takes no gain; only 'tanh' reads it")
        self.gain = None if gain is None else _flow.positive(gain, "gain")
        self.resistance = _flow.positive(resistance, "resistance")
        self.capacitance = _flow.positive(capacitance, "capacitance")
        self.coding = take_choice(coding, "coding", CODINGS)
        self.leak = bool(leak)
        self.scale = take_choice(scale, "scale", SCALES)
        self._patterns: Array | None = None
        self._counts: Array | None = None
        self._weights: Array | None = None
        self._bias: Array | None = None
        self._made: _core.Memory | None = None

    @classmethod
    def from_weights(
        cls, weights: npt.ArrayLike, bias: npt.ArrayLike | None = None, **config: Any
    ) -> Self:
        """A network of given weights.

        Parameters
        ----------
        weights : array_like, shape (n_features, n_features)
            W. Copied; float32 computes in float32. Symmetric, or there is no energy.
        bias : array_like, shape (n_features,), optional
            I, the currents from outside; 0 unless given.
        **config
            As of the constructor.

        Returns
        -------
        ContinuousHopfieldNetwork

        Raises
        ------
        ValueError
            If shapes do not fit or a number is not finite.
        """
        network = cls.from_config(config)
        rows, _ = real_rows(weights, 0, "weights")
        n = rows.shape[1]
        if np.ndim(weights) != 2 or rows.shape != (n, n) or n == 0:
            raise ValueError(
                f"weights has shape {np.shape(weights)}; they are (n_features, n_features)"
            )
        network._weights = _frozen(rows)
        currents = np.zeros(n, rows.dtype)
        if bias is not None:
            given, single = real_rows(bias, n, "bias")
            if not single:
                raise ValueError(f"bias has shape {np.shape(bias)}; it is ({n},)")
            currents = given[0]
        network._bias = _frozen(currents.astype(rows.dtype))
        return network

    # ------------------------------------------------------------------------------- stored --

    def store(self, patterns: npt.ArrayLike) -> Self:
        """Adds patterns to the weights by Hebb's rule.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
            Of +1 and -1, or of 1 and 0 with coding='binary'. If the first rows ever stored are
            float32 the network computes in float32, else in float64.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            For another width or other numbers, or a network made from weights.
        """
        if self._weights is not None and self._counts is None:
            raise ValueError(
                "this network was made from weights, to which patterns cannot be added; store "
                "them in a network of their own"
            )
        rows, _ = real_rows(patterns, self.n_features, "patterns")
        if not len(rows) or not rows.shape[1]:
            raise ValueError(f"patterns has shape {rows.shape}: there is nothing to store")
        signs = encode(rows, self.coding, "patterns").astype(np.float64)
        # Sums of +1 and -1 are exact in any order.
        counts = signs.T @ signs
        dtype = rows.dtype if self._weights is None else self._weights.dtype
        rows = rows.astype(dtype)
        if self._counts is not None and self._patterns is not None:
            counts += self._counts
            rows = np.concatenate([self._patterns, rows])
        weights = counts.copy()
        np.fill_diagonal(weights, 0)
        bias = np.zeros(len(weights))
        if self.coding == "binary":
            bias = -weights.sum(axis=1) / 2
        divisor = {"neurons": rows.shape[1], "patterns": len(rows), "none": 1}[self.scale]
        self._counts, self._patterns = counts, _frozen(rows)
        self._weights = _frozen((weights / divisor).astype(dtype))
        self._bias = _frozen((bias / divisor).astype(dtype))
        self._made = None
        return self

    @property
    def n_patterns(self) -> int:
        """How many patterns `store` was given; 0 for a network made from weights."""
        return 0 if self._patterns is None else len(self._patterns)

    @property
    def n_features(self) -> int:
        """The number of neurons; 0 before the first store."""
        return 0 if self._weights is None else len(self._weights)

    @property
    def patterns(self) -> Array:
        """What was stored, (n_patterns, n_features); read-only.

        Raises
        ------
        ValueError
            If nothing was, or the network was made from weights.
        """
        if self._patterns is None:
            raise ValueError("no patterns are kept: " + _EMPTY)
        return self._patterns

    @property
    def weights(self) -> Array:
        """W, (n_features, n_features); read-only."""
        return self._take_weights()[0]

    @property
    def bias(self) -> Array:
        """I, (n_features,); read-only."""
        return self._take_weights()[1]

    def _take_weights(self) -> tuple[Array, Array]:
        if self._weights is None or self._bias is None:
            raise ValueError("the network is empty: " + _EMPTY)
        return self._weights, self._bias

    def _rows(self) -> _core.Memory:
        """A memory whose scores are W V, each a chain in the order of the neurons."""
        if self._made is None:
            weights, _ = self._take_weights()
            self._made = _core.Memory(weights, similarity="dot", separation="identity")
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        names = ("_patterns", "_counts", "_weights", "_bias")
        return {"config": self.get_config(), "stored": {n: getattr(self, n) for n in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["config"])  # type: ignore[misc]
        for name, array in state["stored"].items():
            if array is not None:
                read_only(array)
            setattr(self, name, array)

    # ------------------------------------------------------------------------------ dynamics --

    def run(
        self,
        states: npt.ArrayLike,
        t: float,
        dt: float,
        *,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 0.0,
        record_every: int | None = 1,
    ) -> Trajectory:
        """Follows the flow from each state for a time t.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            Potentials u at time 0; with activation='clip' outputs V, within the cube.
        t, dt : float
            How long, in steps of how much; the last step is shortened to end at t.
        inputs : array_like, shape (n_features,) or (n_states, n_features), optional
            Currents beside the bias, constant in time.
        method : {"euler", "rk4"}
            Of order 1 or 4; 'clip' has "euler" alone.
        tol : float, default 0
            A state rests, and its integration ends, when no component of C u' is larger, or
            when a step changes no bit of it.
        record_every : int or None, default 1
            Trace the states every so many steps, and at the end; None: no trace.

        Returns
        -------
        Trajectory

        Raises
        ------
        ValueError
            If dt is not below the limit of stability, shapes do not fit, a number of the caller
            is not finite, or one of the flow's no longer is.
        """
        _, bias = self._take_weights()
        u, single = self._take(states)
        step = _flow.take_step(dt, method, *self._time_constant())
        bounds = None
        if self.activation == "clip":
            if method != "euler":
                raise ValueError(f"activation='clip' steps by 'euler' alone, not {method!r}")
            bounds = (-1.0, 1.0) if self.coding == "bipolar" else (0.0, 1.0)
        given = self._take_inputs(inputs, len(u))
        rows = self._rows()
        decay = 1 / self.resistance if self.leak else 0.0

        def rhs(at: Parts, chosen: Array) -> tuple[Term, ...]:
            drive = rows.scores(self._activity(at[0])) + bias
            if given is not None:
                drive = drive + given[chosen]
            return (Term(drive, decay, self.capacitance),)

        ended = _flow.integrate(
            rhs,
            (u,),
            t=t,
            dt=step,
            method=method,
            tol=tol,
            record_every=record_every,
            explain=lambda: "use a smaller dt, or smaller weights",
            bounds=bounds,
        )
        # What the result goes on asking is the network as it is now.
        snapshot = copy.copy(self)

        def energies(at: Parts, chosen: Array) -> Array:
            return snapshot._energy(at[0], None if given is None else given[chosen])

        return _flow.make_trajectory(
            ended,
            single=single,
            output=self._activity(ended.parts[0]),
            source=_Source(snapshot, given),
            energies=energies if self.lyapunov() else None,
        )

    def recall(
        self,
        states: npt.ArrayLike,
        t: float | None = None,
        dt: float | None = None,
        *,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 1e-6,
        trace: bool = False,
    ) -> Trajectory:
        """Follows the flow from each state until it rests.

        Parameters
        ----------
        states, inputs, method, tol
            As of `run`.
        t : float, optional
            The most time; 100 R C unless given.
        dt : float, optional
            R C / 10 unless given.
        trace : bool, default False
            Keep every step.

        Returns
        -------
        Trajectory

        Raises
        ------
        ValueError
            As `run`.
        """
        constant = self.resistance * self.capacitance
        return self.run(
            states,
            100 * constant if t is None else t,
            constant / 10 if dt is None else dt,
            inputs=inputs,
            method=method,
            tol=tol,
            record_every=1 if trace else None,
        )

    def retrieve(
        self,
        states: npt.ArrayLike,
        t: float | None = None,
        dt: float | None = None,
        *,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 1e-6,
    ) -> Array:
        """The outputs V where the flow rests; parameters as of `recall`.

        Returns
        -------
        ndarray, shape (n_states, n_features) or (n_features,)

        Raises
        ------
        ValueError
            As `run`.
        """
        return self.recall(states, t, dt, inputs=inputs, method=method, tol=tol).output

    def output(self, states: npt.ArrayLike) -> Array:
        """V, the outputs of neurons with potentials u.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray, of the shape of `states`

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite or, with
            activation='clip', outside of the cube.
        """
        self._take_weights()
        u, single = self._take(states)
        result = self._activity(u)
        return result[0] if single else result

    def _take(self, states: npt.ArrayLike) -> tuple[Array, bool]:
        weights, _ = self._take_weights()
        rows, single = real_rows(states, len(weights), "states")
        if self.activation == "clip":
            low = -1 if self.coding == "bipolar" else 0
            outside = (rows < low) | (rows > 1)
            if outside.any():
                i, j = np.argwhere(outside)[0]
                raise ValueError(
                    f"states[{i}, {j}] is {rows[i, j]:g}, outside of [{low}, 1], where "
                    f"activation='clip' with coding={self.coding!r} keeps them; use np.clip"
                )
        return rows.astype(weights.dtype, copy=False), single

    def _take_inputs(self, inputs: npt.ArrayLike | None, n_states: int) -> Array | None:
        if inputs is None:
            return None
        weights, _ = self._take_weights()
        return _flow.one_or_each(inputs, len(weights), n_states, weights.dtype, "inputs")

    def _time_constant(self) -> tuple[float, str]:
        if not self.leak:
            return np.inf, "none"
        return self.resistance * self.capacitance, "resistance * capacitance"

    def _activity(self, u: Array) -> Array:
        """V = g(u)."""
        if self.activation == "clip":
            return u
        v = _flow.tanh(self._gain * u)
        return v if self.coding == "bipolar" else 0.5 * (1 + v)

    @property
    def _gain(self) -> float:
        return 10.0 if self.gain is None else self.gain

    # ------------------------------------------------------------------------------ energies --

    def energy(self, states: npt.ArrayLike, *, inputs: npt.ArrayLike | None = None) -> Any:
        """E of potentials u (with activation='clip', of outputs V).

        ``-1/2 V.W V - (bias + inputs).V``, and with a leak (1/R) times the integral of g^-1
        from its zero to V, summed over the neurons.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
        inputs : array_like, shape (n_features,) or (n_states, n_features), optional

        Returns
        -------
        ndarray of float64, shape (n_states,), or float

        Raises
        ------
        ValueError
            If W is not symmetric: the network has no energy.
        """
        u, single = self._take(states)
        given = self._take_inputs(inputs, len(u))
        if not self.lyapunov():
            raise ValueError(self.lyapunov_reason())
        result = self._energy(u, given)
        return float(result[0]) if single else result

    def _energy(self, u: Array, inputs: Array | None) -> Array:
        weights, bias = self._take_weights()
        u = u.astype(np.float64)
        v = self._activity(u)
        fields = _core.similarity(weights.astype(np.float64), v, "dot")
        currents = bias if inputs is None else bias + inputs
        total = -(v * (0.5 * fields + currents)).sum(axis=1)
        if self.leak:
            if self.activation == "clip":
                integral = 0.5 * v * v
            else:
                soft = _flow.log_cosh(self._gain * u) / self._gain
                # Of binary outputs, from V = 1/2, it is half of that of 2 V - 1.
                integral = (
                    u * v - soft if self.coding == "bipolar" else u * (v - 0.5) - soft / 2
                )
            total = total + integral.sum(axis=1) / self.resistance
        return np.asarray(total)

    def lyapunov(self, mode: str = "flow") -> bool:
        """Whether the energy cannot rise: whether W is symmetric.

        Parameters
        ----------
        mode : {"flow"}
            The dynamics; there is one. A statement about continuous time, which short steps
            share.

        Returns
        -------
        bool

        Raises
        ------
        ValueError
            If nothing is stored, or for another mode.
        """
        take_choice(mode, "mode", ("flow",))
        weights, _ = self._take_weights()
        return bool((weights == weights.T).all())

    def lyapunov_reason(self, mode: str = "flow") -> str:
        """Why the energy cannot rise, or why there is none, in a sentence."""
        if self.lyapunov(mode):
            return "W is symmetric and g does not decrease: dE/dt = -C sum g'(u) u'^2"
        return (
            "W is not symmetric, and only symmetric weights have an energy; use (W + W.T) / 2 "
            "if they should be"
        )


_EMPTY = "call store(patterns) first, or make it with from_weights"


class _Source:
    """What a result of a run asks about its network."""

    def __init__(self, network: ContinuousHopfieldNetwork, inputs: Array | None) -> None:
        self._network, self._inputs = network, inputs

    def overlaps(self, states: Array) -> Array:
        network = self._network
        v = network._activity(states)
        patterns = network.patterns
        if network.coding == "binary":
            v, patterns = 2 * v - 1, 2 * patterns - 1
        result: Array = _core.similarity(patterns, v, "dot") / network.n_features
        return result

    def weights(self, states: Array) -> Array:
        raise ValueError(
            "a network of pairwise weights gives no weight to a pattern; see overlaps"
        )

    def energy(self, states: Array) -> Array:
        network = self._network
        if not network.lyapunov():
            raise ValueError(network.lyapunov_reason())
        return network._energy(states, self._inputs)


def _frozen(array: Array) -> Array:
    """A C-contiguous copy that cannot be written to."""
    return read_only(np.array(array, order="C"))
