"""Neural dynamics of universal Hopfield networks: value neurons, memory neurons, one energy.

    tau_v v' = J(g)^T f(h) - v + I
    tau_h h' = sim(M, g(v)) - h

Value neurons v (one a feature) and memory neurons h (one a pattern) of Krotov and Hopfield
(2020, arXiv 2008.06996), with any similarity that has a Jacobian J, as in Millidge et al.
(2022, arXiv 2202.04557). f = sep is the gradient of a Lagrangian L_h, g that of L_v, and

    E(v, h) = [g.(v - I) - L_v(v)] + [f.h - L_h(h)] - f.sim(M, g)

obeys dE/dt = -tau_v v'.H_v v' - tau_h h'.H_h h' with the Hessians H of the Lagrangians.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from uhn import _core
from uhn.models import _flow
from uhn.models._base import Model, read_only, real_rows, take_choice
from uhn.models._flow import Parts, Term, Trajectory
from uhn.models._lagrangian import SIMPLEX, Lagrangian

__all__ = ["NeuralDynamics"]

Array = npt.NDArray[Any]

FLOWS = ("gradient", "projection")
FORMS = ("krotov_hopfield", "gradient")
ACTIVATIONS = ("identity", "sphere", "tanh")

_DIVERGES = (
    "the flow leaves the domain of {}, which is defined for values >= 0; use "
    "flow='projection', which needs no Jacobian"
)
#: Why a similarity has no flow along its gradient. The others' Jacobians are everywhere but on
#: sets of measure 0.
NO_JACOBIAN = {
    "hamming": (
        "'hamming' is constant but for jumps, so that its Jacobian is 0; for two-state data "
        "'manhattan' is twice it, or use flow='projection', which needs no Jacobian"
    ),
    **{
        name: _DIVERGES.format(repr(name))
        for name in ("normalized_dot", "kl", "reverse_kl", "jensen_shannon")
    },
}
DISTANCES = ("euclidean", "sqeuclidean", "manhattan", "chebyshev")


class NeuralDynamics(Model):
    """The two populations of neurons whose rest is an associative memory, in continuous time.

    ``tau_v v' = J^T f(h) - v + I`` and ``tau_h h' = sim(M, v) - h``, where J is the Jacobian of
    the similarity at v and f the separation. With a dot product J = M: the flow rests where
    v = M^T sep(M v) + I, at the fixed points of the memory's own iteration, and with memory
    neurons at rest (`tau_h` None) one Euler step of dt = tau_v *is* ``Memory.retrieve``.

    ======================  ================================================================
    ``flow="gradient"``     v' as above: down the energy E(v, h).
    ``flow="projection"``   v' = P f(h) - v + I, at whose rest v = P sep(sim(M, v)) for every
                            similarity; an energy only for dot products with P = M.
    ``form``                "krotov_hopfield": h' as above. "gradient": h' = H (sim - h) with
                            H = df/dh, which is -dE/dh; the same rest, but where H is 0 (max,
                            topk, threshold) h never moves.
    ``tau_h``               None or 0: h = sim(M, v) at all times, and v runs down
                            E_red(v) = |v|^2 / 2 - I.v - L(sim(M, v)). Slow memory neurons
                            may end in another memory than fast ones.
    ======================  ================================================================

    For similarities other than the dot product the two flows rest at different places. Minus
    half the squared distance, with weights of sum 1, pulls by sum f (m - v), and the leak -v
    pulls once more: at rest v is *half* of a mean of patterns. ``leak=False`` is without it,
    with energy -L(sim) and the mean itself at rest (mean shift). With 'manhattan' the gradient
    leads to weighted medians.

    Parameters
    ----------
    similarity, separation, transform, eps, gamma, beta, degree, k, alpha, theta
        As of `uhn.Memory`; names only. The gradient flow refuses similarities without a
        Jacobian, and says why.
    half : bool, default False
        Half of 'sqeuclidean', -|m - v|^2 / 2, whose Jacobian is m - v.
    flow : {"gradient", "projection"}
    form : {"krotov_hopfield", "gradient"}
    activation : {"identity", "sphere", "tanh"}
        g: v, with L_v = |v|^2 / 2 (model B of Krotov and Hopfield); v / |v|, with L_v = |v|
        (their model C); tanh(gain v), with L_v = sum log cosh(gain v) / gain (model A).
    gain : float, default 1
        Of 'tanh'.
    leak : bool, default True
        Whether the value neurons decay; False is for flow='gradient'.
    tau_v : float, default 1
    tau_h : float or None, default None

    Notes
    -----
    That E does not rise is a law of the flow. Steps obey it if they are short: an explicit
    Euler step must be below twice the shortest time constant, and 0.01 of it is short. For dot
    products with h at rest, g = v and a convex L, each step below 2 tau_v lowers E_red by
    (tau_v / dt - 1/2) |dv|^2 at least. 'manhattan', 'euclidean' and 'chebyshev' have kinks at
    the bottom of their valleys, across which steps oscillate: E may rise by O(dt) there.

    'identity' with dot products has no lowest energy where the largest eigenvalue of M M^T
    is above 1, nor have the polynomials far from 0: v explodes, which is an error that says so.

    Examples
    --------
    >>> import numpy as np
    >>> from uhn.models import NeuralDynamics
    >>> flow = NeuralDynamics(beta=2.0, tau_h=0.1)
    >>> _ = flow.store([[1, 0, 0.5], [0, 1, -0.5], [-1, 0.2, 0.3]])
    >>> way = flow.run([0.9, 0.1, 0.2], t=30, dt=0.01)
    >>> np.round(way.state, 4)
    array([0.8701, 0.0864, 0.4136])
    >>> [round(float(e), 4) for e in way.trace.energies[::1000]]
    [-0.1793, -0.665, -0.665, -0.665]
    """

    _parameters: ClassVar[tuple[str, ...]] = (
        "similarity",
        "separation",
        "transform",
        "eps",
        "gamma",
        "beta",
        "degree",
        "k",
        "alpha",
        "theta",
        "half",
        "flow",
        "form",
        "activation",
        "gain",
        "leak",
        "tau_v",
        "tau_h",
    )

    def __init__(
        self,
        *,
        similarity: str = "dot",
        separation: str = "softmax",
        transform: str | None = None,
        eps: float | None = None,
        gamma: float | None = None,
        beta: float | None = None,
        degree: float | None = None,
        k: int | None = None,
        alpha: float | None = None,
        theta: float | None = None,
        half: bool = False,
        flow: str = "gradient",
        form: str = "krotov_hopfield",
        activation: str = "identity",
        gain: float | None = None,
        leak: bool = True,
        tau_v: float = 1.0,
        tau_h: float | None = None,
    ) -> None:
        for name, value in (("similarity", similarity), ("separation", separation)):
            if not isinstance(value, str):
                raise TypeError(
                    f"{name} must be a name: the flow needs a Jacobian and a Lagrangian, which "
                    "a function of your own does not tell"
                )
        self.similarity, self.separation, self.transform = similarity, separation, transform
        self.eps, self.gamma, self.beta, self.degree = eps, gamma, beta, degree
        self.k, self.alpha, self.theta = k, alpha, theta
        self.half, self.leak = bool(half), bool(leak)
        self.flow = take_choice(flow, "flow", FLOWS)
        self.form = take_choice(form, "form", FORMS)
        self.activation = take_choice(activation, "activation", ACTIVATIONS)
        self.gain = None if gain is None else _flow.positive(gain, "gain")
        self.tau_v = _flow.positive(tau_v, "tau_v")
        slow = None if tau_h is None else _flow.positive(tau_h, "tau_h", zero=True)
        self.tau_h = slow if slow else None
        # An empty memory of this equation refuses what it has to refuse: names, parameters.
        _core.Memory(**self._equation())
        self._lagrangian = Lagrangian(
            separation, beta=beta, degree=degree, k=k, alpha=alpha, theta=theta
        )
        if gain is not None and activation != "tanh":
            raise ValueError(f"activation {activation!r} takes no gain; only 'tanh' reads it")
        if half and (similarity != "sqeuclidean" or transform not in (None, "negative")):
            raise ValueError("half is for similarity='sqeuclidean' without a transform")
        if not leak and flow != "gradient":
            raise ValueError("leak=False is for flow='gradient': a projection has to decay")
        if flow == "gradient" and similarity in NO_JACOBIAN:
            raise ValueError(f"no gradient flow: {NO_JACOBIAN[similarity]}")
        if flow == "gradient" and transform == "inverse" and not self.eps:
            raise ValueError(
                "no gradient flow: transform='inverse' is infinite at a pattern; use eps > 0"
            )
        if form == "gradient" and self.tau_h and self._lagrangian.is_steep:
            raise ValueError(
                f"form='gradient' needs f', but that of {separation!r} is infinite where a "
                "weight becomes 0; use form='krotov_hopfield'"
            )
        self._patterns: Array | None = None
        self._values: Array | None = None
        self._made: _Stored | None = None

    def _equation(self) -> dict[str, Any]:
        names = self._parameters[:10]
        return {name: v for name in names if (v := getattr(self, name)) is not None}

    # ------------------------------------------------------------------------------- stored --

    def store(self, patterns: npt.ArrayLike, values: npt.ArrayLike | None = None) -> Self:
        """Adds memories: a copy of the rows is kept.

        Parameters
        ----------
        patterns : array_like, shape (n, n_features) or (n_features,)
            The first rows ever stored decide: float32 computes in float32, all else in float64.
        values : array_like, shape (n, n_values) or (n_values,), optional
            P: what the patterns stand for; None: themselves. The projection flow brings v to
            them, and needs n_values = n_features; the gradient flow reads them out alone.

        Returns
        -------
        The memory itself, so that calls can be chained.

        Raises
        ------
        ValueError
            If shapes do not fit what is stored, or a number is not finite.
        TypeError
            If an array is not of real numbers.
        """
        width = 0 if self._patterns is None else self.n_features
        rows, _ = real_rows(patterns, width, "patterns")
        if not len(rows) or not rows.shape[1]:
            raise ValueError(f"patterns has shape {rows.shape}: there is nothing to store")
        if self._patterns is not None and (values is None) != (self._values is None):
            raise ValueError(
                "patterns with values and patterns without do not mix: pass values at every "
                "store or at none"
            )
        if values is None:
            paired = None
        else:
            paired, _ = real_rows(
                values, 0 if self._values is None else self.n_values, "values"
            )
            if len(paired) != len(rows):
                raise ValueError(
                    f"values has {len(paired)} rows for {len(rows)} patterns; pass one a "
                    "pattern"
                )
            if self.flow == "projection" and paired.shape[1] != rows.shape[1]:
                raise ValueError(
                    f"values has {paired.shape[1]} columns, but the projection flow brings the "
                    f"{rows.shape[1]} value neurons to them; with flow='gradient' values of "
                    "another width are read out"
                )
        # A check of the domain, before anything changes.
        _core.Memory(rows, **self._equation())
        dtype = rows.dtype if self._patterns is None else self._patterns.dtype

        def joined(old: Array | None, new: Array) -> Array:
            new = new.astype(dtype)
            return read_only(np.array(new) if old is None else np.concatenate([old, new]))

        self._patterns = joined(self._patterns, rows)
        self._values = None if paired is None else joined(self._values, paired)
        self._made = None
        return self

    @property
    def n_patterns(self) -> int:
        """How many patterns are stored: the number of memory neurons."""
        return 0 if self._patterns is None else len(self._patterns)

    @property
    def n_features(self) -> int:
        """The number of value neurons; 0 before the first store."""
        return 0 if self._patterns is None else int(self._patterns.shape[1])

    @property
    def n_values(self) -> int:
        """The number of columns of P; 0 before the first store."""
        return self.n_features if self._values is None else int(self._values.shape[1])

    @property
    def patterns(self) -> Array:
        """M, (n_patterns, n_features); read-only."""
        return self._stored().patterns

    @property
    def values(self) -> Array:
        """P, (n_patterns, n_values), the patterns themselves unless others were stored."""
        stored = self._stored()
        return stored.patterns if stored.values is None else stored.values

    def _stored(self) -> _Stored:
        if self._patterns is None:
            raise ValueError("nothing is stored yet: call store(patterns) first")
        if self._made is None:
            self._made = _Stored(self, self._patterns, self._values)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.get_config(), "stored": (self._patterns, self._values)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["config"])  # type: ignore[misc]
        self._patterns, self._values = state["stored"]
        for array in state["stored"]:
            if array is not None:
                read_only(array)

    # ------------------------------------------------------------------------------ dynamics --

    def run(
        self,
        states: npt.ArrayLike,
        t: float,
        dt: float,
        *,
        hidden: npt.ArrayLike | None = None,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 0.0,
        record_every: int | None = 1,
    ) -> Trajectory:
        """Follows the flow from each state for a time t.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            Value neurons v at time 0.
        t, dt : float
            How long, in steps of how much; the last step is shortened to end at t.
        hidden : array_like, shape (n_states, n_patterns) or (n_patterns,), optional
            Slow memory neurons at time 0; 0 unless given.
        inputs : array_like, shape (n_features,) or (n_states, n_features), optional
            I, constant in time.
        method : {"euler", "rk4"}
            Of order 1 or 4.
        tol : float, default 0
            A state rests, and its integration ends, when no component of tau_v v' and tau_h h'
            is larger, or when a step changes no bit of it.
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
        return self._run(states, t, dt, hidden, inputs, method, tol, record_every)

    def recall(
        self,
        states: npt.ArrayLike,
        t: float | None = None,
        dt: float | None = None,
        *,
        hidden: npt.ArrayLike | None = None,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 1e-6,
        trace: bool = False,
    ) -> Trajectory:
        """Follows the flow from each state until it rests.

        Parameters
        ----------
        states, hidden, inputs, method, tol
            As of `run`.
        t : float, optional
            The most time; 100 times the longest time constant unless given.
        dt : float, optional
            A tenth of the shortest time constant unless given.
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
        shortest, _ = self._shortest()
        if t is None:
            t = 100 * max(self.tau_v, self.tau_h or 0)
        if dt is None:
            dt = shortest / 10 if np.isfinite(shortest) else self.tau_v / 10
        return self._run(states, t, dt, hidden, inputs, method, tol, 1 if trace else None)

    def retrieve(
        self,
        states: npt.ArrayLike,
        t: float | None = None,
        dt: float | None = None,
        *,
        hidden: npt.ArrayLike | None = None,
        inputs: npt.ArrayLike | None = None,
        method: str = "euler",
        tol: float = 1e-6,
    ) -> Array:
        """What the value neurons put out, g(v), where the flow rests; parameters of `recall`.

        Returns
        -------
        ndarray, shape (n_states, n_features) or (n_features,)

        Raises
        ------
        ValueError
            As `run`.
        """
        ended = self.recall(states, t, dt, hidden=hidden, inputs=inputs, method=method, tol=tol)
        return ended.output

    def output(self, states: npt.ArrayLike) -> Array:
        """g(v), what value neurons put out.

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)

        Returns
        -------
        ndarray, of the shape of `states`

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        stored = self._stored()
        v, single = self._take(states, stored)
        result = self._activity(v)
        return result[0] if single else result

    def readout(self, hidden: npt.ArrayLike) -> Array:
        """P f(h): what memory neurons say of the values, a third population they drive.

        Parameters
        ----------
        hidden : array_like, shape (n_states, n_patterns) or (n_patterns,)

        Returns
        -------
        ndarray, shape (n_states, n_values) or (n_values,)

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        stored = self._stored()
        h, single = real_rows(hidden, len(stored.patterns), "hidden")
        weights = self._lagrangian.gradient(h.astype(stored.patterns.dtype))
        result: Array = stored.project(weights)
        return result[0] if single else result

    def _take(self, states: npt.ArrayLike, stored: _Stored) -> tuple[Array, bool]:
        rows, single = real_rows(states, stored.patterns.shape[1], "states")
        return rows.astype(stored.patterns.dtype, copy=False), single

    def _take_inputs(
        self, inputs: npt.ArrayLike | None, n_states: int, stored: _Stored
    ) -> Array | None:
        if inputs is None:
            return None
        patterns = stored.patterns
        return _flow.one_or_each(inputs, patterns.shape[1], n_states, patterns.dtype, "inputs")

    def _shortest(self) -> tuple[float, str]:
        """The shortest time constant that is known, and its name."""
        fastest, name = np.inf, "none"
        decay = float(self.leak)
        if (
            self.flow == "gradient"
            and self.similarity == "sqeuclidean"
            and self.transform in (None, "negative")
            and self.separation in SIMPLEX
            and self.activation == "identity"
        ):
            decay += 1 if self.half else 2
        if decay:
            fastest, name = self.tau_v / decay, "tau_v" if decay == 1 else f"tau_v / {decay:g}"
        if self.tau_h is not None:
            # In the gradient form the decay of h is an eigenvalue of H, where that is bounded.
            steepest = self._lagrangian.steepest if self.form == "gradient" else 1.0
            if steepest and self.tau_h / steepest < fastest:
                fastest = self.tau_h / steepest
                name = "tau_h" if steepest == 1 else f"tau_h / {steepest:g}"
        return fastest, name

    def _run(
        self,
        states: npt.ArrayLike,
        t: Any,
        dt: Any,
        hidden: npt.ArrayLike | None,
        inputs: npt.ArrayLike | None,
        method: str,
        tol: Any,
        record_every: Any,
    ) -> Trajectory:
        stored = self._stored()
        v, single = self._take(states, stored)
        given = self._take_inputs(inputs, len(v), stored)
        step = _flow.take_step(dt, method, *self._shortest())
        parts: Parts = (v,)
        if self.tau_h is not None:
            parts = (v, self._take_hidden(hidden, len(v), stored))
        elif hidden is not None:
            raise ValueError(
                "hidden is the start of slow memory neurons, but with tau_h=None they are at "
                "rest at all times; make the network with tau_h > 0"
            )

        def rhs(at: Parts, rows: Array) -> tuple[Term, ...]:
            return self._terms(stored, at, None if given is None else given[rows])

        ended = _flow.integrate(
            rhs,
            parts,
            t=t,
            dt=step,
            method=method,
            tol=tol,
            record_every=record_every,
            explain=lambda: self._explain(stored),
        )
        output = self._activity(ended.parts[0])
        slow = ended.parts[1] if len(parts) > 1 else None
        # What the result goes on asking is the network as it is now.
        snapshot = copy.copy(self)
        snapshot._made = stored
        return _flow.make_trajectory(
            ended,
            single=single,
            output=output,
            source=_Source(snapshot, slow, given),
            energies=lambda at, rows: self._energy(
                stored,
                at[0],
                at[1] if len(at) > 1 else None,
                None if given is None else given[rows],
            ),
        )

    def _take_hidden(
        self, hidden: npt.ArrayLike | None, n_states: int, stored: _Stored
    ) -> Array:
        n, dtype = len(stored.patterns), stored.patterns.dtype
        if hidden is None:
            return np.zeros((n_states, n), dtype)
        return _flow.one_or_each(hidden, n, n_states, dtype, "hidden")

    def _explain(self, stored: _Stored) -> str:
        """What to do about a flow that explodes."""
        text = "use a smaller dt"
        simple = self.similarity == "dot" and self.activation == "identity"
        if simple and self.separation == "identity":
            text = "use a smaller dt, or scale the patterns down"
            if min(stored.patterns.shape) <= 2000:
                largest = float(np.linalg.norm(stored.patterns.astype(np.float64), 2)) ** 2
                text = (
                    "separation 'identity' has an energy without a minimum where the largest "
                    f"eigenvalue of M M^T is above 1, and here it is {largest:.4g}; scale the "
                    "patterns down, use activation='sphere', or another separation"
                )
        elif self.separation not in (*SIMPLEX, "softmax1"):
            text += (
                f", smaller patterns, or another separation: with {self.separation!r} the "
                "energy may have no minimum"
            )
        return text

    # ------------------------------------------------------------------------------ the flow --

    def _activity(self, v: Array) -> Array:
        """g(v)."""
        if self.activation == "identity":
            return v
        if self.activation == "tanh":
            return _flow.tanh((self.gain or 1.0) * v)
        norm = _norm(v)
        return np.divide(v, norm, out=np.zeros_like(v), where=norm > 0)

    def _terms(self, stored: _Stored, at: Parts, inputs: Array | None) -> tuple[Term, ...]:
        """tau_v v' and tau_h h' of some states."""
        v = at[0]
        g = self._activity(v)
        slow = len(at) > 1
        decay: float | Array
        if not slow and stored.whole is not None:
            # One pass from the state to what its memories pull it to.
            drive, decay = stored.whole.retrieve(g), stored.pull
        else:
            scores = stored.scores(g)
            h = at[1] if slow else scores
            weights = self._lagrangian.gradient(h)
            drive, decay = self._force(stored, g, scores, weights)
        if self.activation == "identity":
            decay = decay + float(self.leak)
        else:
            if not (isinstance(decay, float) and decay == 0):
                drive = drive - decay * g
            decay = float(self.leak)
        if inputs is not None:
            drive = drive + inputs
        terms = [Term(drive, decay, self.tau_v)]
        if slow and self.tau_h is not None:
            if self.form == "gradient":
                curved = self._lagrangian.curvature(h, weights, scores - h)
                terms.append(Term(curved, 0.0, self.tau_h))
            else:
                terms.append(Term(scores, 1.0, self.tau_h))
        return tuple(terms)

    def _force(
        self, stored: _Stored, g: Array, scores: Array, weights: Array
    ) -> tuple[Array, float | Array]:
        """A and kappa of J(g)^T f = A - kappa g, or P f and 0."""
        if self.flow == "projection":
            return stored.project(weights), 0.0
        name, w = self.similarity, weights
        if name == "dot":
            return stored.back(w), 0.0
        if name == "cosine":
            # d cos/dg = (m / |m| - cos g / |g|) / |g|; at g = 0 there is no direction.
            norm = _norm(g)
            inverse = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
            along = (w * scores).sum(axis=1, keepdims=True)
            return stored.back(w) * inverse, along * inverse * inverse
        # S = phi(d): what the chain rule makes of the weights. dS/dg = -phi' (-dd/dg).
        if self.transform == "inverse":
            w = w * scores * scores
        elif self.transform == "rbf":
            w = w * scores * (1.0 if self.gamma is None else self.gamma)
            if name == "euclidean":
                name = "sqeuclidean"  # exp(-gamma d^2) is the same of either
            elif name != "sqeuclidean":
                w = w * 2 * stored.distances(g)
        if name == "sqeuclidean":
            w = w if self.half else 2 * w
            return stored.back(w), w.sum(axis=1, keepdims=True)
        if name == "euclidean":
            d = -scores if self.transform in (None, "negative") else stored.distances(g)
            w = np.divide(w, d, out=np.zeros_like(w), where=d > 0)
            return stored.back(w), w.sum(axis=1, keepdims=True)
        pull = _manhattan_pull if name == "manhattan" else _chebyshev_pull
        return pull(stored, g, w), 0.0

    # ------------------------------------------------------------------------------ energies --

    def energy(
        self,
        states: npt.ArrayLike,
        hidden: npt.ArrayLike | None = None,
        *,
        inputs: npt.ArrayLike | None = None,
    ) -> Any:
        """E(v, h), or E_red(v) without `hidden`: that of memory neurons at rest, h = sim(M, g).

        Parameters
        ----------
        states : array_like, shape (n_states, n_features) or (n_features,)
            v.
        hidden : array_like, shape (n_states, n_patterns) or (n_patterns,), optional
            h.
        inputs : array_like, shape (n_features,) or (n_states, n_features), optional
            I.

        Returns
        -------
        ndarray of float64, shape (n_states,), or float
            Computed in float64 whatever the dtype. Without a leak the terms g.v - L_v are left
            out. `lyapunov` says whether the flow can raise it.

        Raises
        ------
        ValueError
            If nothing is stored, shapes do not fit, or a number is not finite.
        """
        stored = self._stored()
        v, single = self._take(states, stored)
        h = None if hidden is None else self._take_hidden(hidden, len(v), stored)
        result = self._energy(stored, v, h, self._take_inputs(inputs, len(v), stored))
        return float(result[0]) if single else result

    def _energy(
        self, stored: _Stored, v: Array, h: Array | None, inputs: Array | None
    ) -> Array:
        v = v.astype(np.float64)
        g = self._activity(v)
        scores = self._scale(_core.similarity(stored.wide(), g, **self._similarity()))
        if h is None:
            total = -self._lagrangian.value(scores)
        else:
            h = h.astype(np.float64)
            f = self._lagrangian.gradient(h)
            total = (f * (h - scores)).sum(axis=1) - self._lagrangian.value(h)
        if self.leak:
            total = total + self._value_term(v, g)
        if inputs is not None:
            total = total - (inputs * g).sum(axis=1)
        return total

    def _similarity(self) -> dict[str, Any]:
        names = ("similarity", "transform", "eps", "gamma")
        return {name: v for name in names if (v := getattr(self, name)) is not None}

    def _scale(self, scores: Array) -> Array:
        return 0.5 * scores if self.half else scores

    def _value_term(self, v: Array, g: Array) -> Array:
        """g.v - L_v(v)."""
        if self.activation == "identity":
            return np.asarray(0.5 * (v * v).sum(axis=1))
        if self.activation == "sphere":
            return np.zeros(len(v))
        gain = self.gain or 1.0
        return np.asarray((g * v - _flow.log_cosh(gain * v) / gain).sum(axis=1))

    def lyapunov(self, mode: str | None = None) -> bool:
        """Whether the energy cannot rise along a flow of this network.

        Parameters
        ----------
        mode : {"gradient", "projection"}, optional
            The flow; the network's own unless given.

        Returns
        -------
        bool
            A statement about continuous time; `lyapunov_reason` says why.

        Raises
        ------
        ValueError
            For another mode.
        """
        return self._judge(mode)[0]

    def lyapunov_reason(self, mode: str | None = None) -> str:
        """Why the energy cannot rise along a flow, or why it may, in a sentence."""
        return self._judge(mode)[1]

    def _judge(self, mode: str | None) -> tuple[bool, str]:
        mode = take_choice(self.flow if mode is None else mode, "mode", FLOWS)
        name = self.similarity
        if mode == "projection":
            if name != "dot":
                return False, (
                    f"P f is the pull J^T f of the energy for dot products alone, and the "
                    f"similarity is {name!r}"
                )
            if self._values is not None:
                return False, "P f is the pull J^T f of the energy only if P = M"
            if not self.leak:
                return (
                    False,
                    "the projection flow decays, and the energy is that without a leak",
                )
        elif name in NO_JACOBIAN:
            return False, f"there is no gradient flow: {NO_JACOBIAN[name]}"
        if self.tau_h is None:
            return True, "v' is minus the gradient of E_red(v), times a semidefinite matrix"
        if self.form == "gradient":
            if self.separation == "topk_softmax":
                return False, (
                    "E(v, h) jumps where another pattern comes among the k largest, and in the "
                    "gradient form h may go there against the jump; use form='krotov_hopfield'"
                )
            return True, "h' is minus the gradient of E, and v' times a semidefinite matrix"
        if not self._lagrangian.is_convex:
            return False, (
                "slow memory neurons need a convex Lagrangian, and h^(n+1) is not convex for "
                "even n where h < 0; use 'rectified_polynomial', an odd degree, or tau_h=None"
            )
        return True, "both Lagrangians are convex: dE/dt = -tau_v v'.H_v v' - tau_h h'.H_h h'"


class _Stored:
    """What is stored, in the forms the flow reads; never changed once made."""

    def __init__(self, network: NeuralDynamics, patterns: Array, values: Array | None) -> None:
        self.patterns, self.values = patterns, values
        self._half = network.half
        equation = network._equation()
        gradient = network.flow == "gradient"
        self._memory = _core.Memory(patterns, **equation)
        self._distances: _core.Memory | None = None
        if gradient and network.similarity in DISTANCES:
            self._distances = _core.Memory(patterns, similarity=network.similarity)
        rows = patterns
        if network.similarity == "cosine" and gradient:
            norm = _norm(patterns)
            rows = np.divide(patterns, norm, out=np.zeros_like(patterns), where=norm > 0)
        self._transposed = _transposed(rows)
        self._to_values = self._transposed
        if values is not None:
            self._to_values = _transposed(values)
        elif rows is not patterns:
            self._to_values = _transposed(patterns)
        # Where one pass of the core does it all: the memory it is made with, and the decay that
        # the patterns' pull brings with it.
        self.whole: _core.Memory | None = None
        self.pull: float = 0.0
        if not gradient:
            if not network.half:
                self.whole = _core.Memory(patterns, values, **equation)
        elif network.similarity == "dot":
            self.whole = self._memory
        elif network.half and network.separation in SIMPLEX:
            # softmax(beta (-d^2 / 2)) is softmax((beta / 2) (-d^2)), to the last bit.
            if network.separation not in ("max", "topk"):
                equation["beta"] = network._lagrangian.beta / 2
            self.whole = _core.Memory(patterns, **equation)
            self.pull = 1.0
        self._wide: Array | None = patterns if patterns.dtype == np.float64 else None

    def scores(self, g: Array) -> Array:
        """sim(M, g), (n, n_patterns)."""
        result = self._memory.scores(g)
        return 0.5 * result if self._half else result

    def distances(self, g: Array) -> Array:
        """d(M, g), (n, n_patterns), whatever the transform makes of it."""
        assert self._distances is not None
        return -self._distances.scores(g)

    def back(self, weights: Array) -> Array:
        """weights @ M (of unit rows for cosines), (n, n_features), in an order of its own."""
        return self._transposed.scores(weights)

    def project(self, weights: Array) -> Array:
        """weights @ P, (n, n_values)."""
        return self._to_values.scores(weights)

    def wide(self) -> Array:
        """The patterns in float64."""
        if self._wide is None:
            self._wide = self.patterns.astype(np.float64)
        return self._wide

    def columns(self) -> Array:
        """M^T, (n_features, n_patterns)."""
        return np.asarray(self._transposed)


class _Source:
    """What a result of a run asks about its network."""

    def __init__(
        self, network: NeuralDynamics, slow: Array | None, inputs: Array | None
    ) -> None:
        self._network, self._slow, self._inputs = network, slow, inputs

    def overlaps(self, states: Array) -> Array:
        stored = self._network._stored()
        return stored.scores(self._network._activity(states))

    def hidden(self, states: Array) -> Array:
        return self.overlaps(states) if self._slow is None else self._slow

    def weights(self, states: Array) -> Array:
        return self._network._lagrangian.gradient(self.hidden(states))

    def energy(self, states: Array) -> Array:
        network = self._network
        return network._energy(network._stored(), states, self._slow, self._inputs)


def _transposed(rows: Array) -> _core.Memory:
    """Scores of this memory are products with the rows, each a chain in the rows' order."""
    columns = np.ascontiguousarray(rows.T)
    return _core.Memory(columns, similarity="dot", separation="identity")


def _norm(rows: Array) -> Array:
    """Euclidean norms, (n, 1), without overflow."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    result: Array = largest * np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    return result


def _manhattan_pull(stored: _Stored, g: Array, weights: Array) -> Array:
    """sum f_mu sign(m_mu - g), state by state, some features at a time."""
    columns = stored.columns()
    result = np.empty_like(g)
    block = max(1, 2**18 // columns.shape[1])
    for i, (at, w) in enumerate(zip(g, weights, strict=True)):
        for j in range(0, len(columns), block):
            signs = np.sign(columns[j : j + block] - at[j : j + block, np.newaxis])
            result[i, j : j + block] = _core.similarity(signs, w, "dot")
    return result


def _chebyshev_pull(stored: _Stored, g: Array, weights: Array) -> Array:
    """sum f_mu sign(m - g) at the feature (the first) in which m_mu and g differ most."""
    patterns = stored.patterns
    result = np.empty_like(g)
    for i, (at, w) in enumerate(zip(g, weights, strict=True)):
        difference = patterns - at
        farthest = np.abs(difference).argmax(axis=1)
        signs = np.sign(np.take_along_axis(difference, farthest[:, np.newaxis], axis=1)[:, 0])
        # bincount adds in the order of the patterns.
        result[i] = np.bincount(farthest, weights=w * signs, minlength=len(at))
    return result
