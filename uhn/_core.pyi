"""Types of the compiled module; the docstrings are in the module itself."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, Final, Literal, SupportsIndex, TypeAlias, TypedDict, final, overload

import numpy as np
import numpy.typing as npt

from uhn.results import Recall

__version__: Final[str]

_Real: TypeAlias = np.dtype[np.float32] | np.dtype[np.float64]
_Array: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]
_Number: TypeAlias = float | np.floating[Any] | np.integer[Any]
_SimilarityFunction: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.ArrayLike]
_SeparationFunction: TypeAlias = Callable[[npt.NDArray[Any]], npt.ArrayLike]
_SimilarityName: TypeAlias = Literal[
    "dot",
    "cosine",
    "normalized_dot",
    "euclidean",
    "sqeuclidean",
    "manhattan",
    "chebyshev",
    "hamming",
    "kl",
    "reverse_kl",
    "jensen_shannon",
]
_SeparationName: TypeAlias = Literal[
    "identity",
    "polynomial",
    "rectified_polynomial",
    "sqrt",
    "log1p",
    "exponential",
    "softmax",
    "softmax1",
    "max",
    "topk",
    "topk_softmax",
    "threshold",
    "sparsemax",
    "entmax",
]
# A plain string is allowed, as names often come from a list or a command line.
_Similarity: TypeAlias = _SimilarityName | str | _SimilarityFunction
_Separation: TypeAlias = _SeparationName | str | _SeparationFunction
_Transform: TypeAlias = Literal["negative", "inverse", "rbf"]
_Normalize: TypeAlias = Literal["none", "sum"]

class _CpuInfo(TypedDict):
    path: str
    available: tuple[str, ...]
    n_threads: int
    compiler: str
    version: str

@final
class Memory:
    def __new__(
        cls,
        patterns: npt.ArrayLike | None = None,
        values: npt.ArrayLike | None = None,
        *,
        similarity: _Similarity = "dot",
        separation: _Separation = "softmax",
        transform: _Transform | str | None = None,
        eps: _Number | None = None,
        gamma: _Number | None = None,
        beta: _Number | None = None,
        degree: _Number | None = None,
        k: SupportsIndex | None = None,
        alpha: _Number | None = None,
        theta: _Number | None = None,
        normalize: _Normalize | str | None = None,
        normalize_scores: bool = False,
        prior: npt.ArrayLike | None = None,
        first_row: SupportsIndex = 0,
        copy: bool = False,
        nan: Literal["raise", "missing"] | str = "raise",
    ) -> Memory: ...
    @property
    def n_patterns(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_values(self) -> int: ...
    @property
    def feature_names(self) -> tuple[str, ...] | None: ...
    @property
    def value_names(self) -> tuple[str, ...] | None: ...
    @property
    def dtype(self) -> _Real | None: ...
    @property
    def similarity(self) -> str | _SimilarityFunction: ...
    @property
    def separation(self) -> str | _SeparationFunction: ...
    @property
    def transform(self) -> str | None: ...
    @property
    def normalize(self) -> str: ...
    @property
    def normalize_scores(self) -> bool: ...
    @property
    def parameters(self) -> dict[str, float]: ...
    @property
    def is_autoassociative(self) -> bool: ...
    @property
    def values(self) -> npt.NDArray[Any]: ...
    @property
    def prior(self) -> npt.NDArray[Any] | None: ...
    @property
    def nan(self) -> str: ...
    @property
    def first_row(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def store(
        self,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        prior: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        copy: bool = False,
    ) -> Memory: ...
    def remove(self, rows: npt.ArrayLike) -> Memory: ...
    def replace(
        self,
        rows: npt.ArrayLike,
        patterns: npt.ArrayLike,
        values: npt.ArrayLike | None = None,
        *,
        prior: npt.ArrayLike | None = None,
    ) -> Memory: ...
    def set_prior(self, prior: npt.ArrayLike, rows: npt.ArrayLike | None = None) -> Memory: ...
    @overload
    def retrieve(
        self,
        queries: npt.ArrayLike,
        n_steps: SupportsIndex = 1,
        *,
        mask: npt.ArrayLike | None = None,
        clamp: bool = True,
        tol: _Number | None = None,
        out: _Array | None = None,
        like: None = None,
    ) -> npt.NDArray[Any]: ...
    @overload
    def retrieve(
        self,
        queries: npt.ArrayLike,
        n_steps: SupportsIndex = 1,
        *,
        mask: npt.ArrayLike | None = None,
        clamp: bool = True,
        tol: _Number | None = None,
        out: None = None,
        like: Literal["input"] | str,
    ) -> Any: ...
    def retrieve_batches(
        self,
        batches: Any,
        *,
        n_steps: SupportsIndex = 1,
        clamp: bool = True,
        tol: _Number | None = None,
        like: Literal["input"] | str | None = None,
        batch_size: SupportsIndex | None = None,
        prefetch: SupportsIndex = 0,
        progress: bool | None = False,
    ) -> Iterator[Any]: ...
    def recall(
        self,
        queries: npt.ArrayLike,
        n_steps: SupportsIndex = 100,
        *,
        mask: npt.ArrayLike | None = None,
        clamp: bool = True,
        tol: _Number | None = 1e-6,
        trace: bool = False,
    ) -> Recall: ...
    def energy(self, states: npt.ArrayLike) -> Any: ...
    def gradient(
        self, states: npt.ArrayLike, *, out: _Array | None = None
    ) -> npt.NDArray[Any]: ...
    def lyapunov(self, mode: Literal["sync"] | str = "sync") -> bool: ...
    def scores(
        self,
        queries: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | None = None,
        out: _Array | None = None,
    ) -> npt.NDArray[Any]: ...
    def weights(
        self,
        queries: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | None = None,
        out: _Array | None = None,
    ) -> npt.NDArray[Any]: ...
    def nearest(
        self,
        queries: npt.ArrayLike,
        k: SupportsIndex = 1,
        *,
        mask: npt.ArrayLike | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]: ...
    def partial(
        self,
        queries: npt.ArrayLike,
        start: SupportsIndex = 0,
        stop: SupportsIndex | None = None,
        *,
        mask: npt.ArrayLike | None = None,
    ) -> Partial: ...
    def copy(self) -> Memory: ...
    def save(self, path: str | PathLike[str], /) -> None: ...
    def __copy__(self) -> Memory: ...
    def __deepcopy__(self, memo: dict[int, Any], /) -> Memory: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(
        self, key: SupportsIndex | slice | Sequence[int] | npt.NDArray[np.integer[Any]], /
    ) -> npt.NDArray[Any]: ...
    def __iter__(self) -> Iterator[npt.NDArray[Any]]: ...
    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]: ...
    def __sizeof__(self) -> int: ...
    def __dlpack__(self, **keywords: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

    def __setstate__(
        self, names: tuple[tuple[str, ...] | None, tuple[str, ...] | None], /
    ) -> None: ...

@final
class Partial:
    @property
    def n_patterns(self) -> int: ...
    @property
    def n_queries(self) -> int: ...
    @property
    def n_values(self) -> int: ...
    @property
    def dtype(self) -> _Real: ...
    @property
    def nbytes(self) -> int: ...
    def finish(self, *, out: _Array | None = None) -> npt.NDArray[Any]: ...
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]: ...
    def __sizeof__(self) -> int: ...

def retrieve(
    patterns: npt.ArrayLike,
    queries: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    *,
    n_steps: SupportsIndex = 1,
    tol: _Number | None = None,
    out: _Array | None = None,
    similarity: _Similarity = "dot",
    separation: _Separation = "softmax",
    transform: _Transform | str | None = None,
    eps: _Number | None = None,
    gamma: _Number | None = None,
    beta: _Number | None = None,
    degree: _Number | None = None,
    k: SupportsIndex | None = None,
    alpha: _Number | None = None,
    theta: _Number | None = None,
    normalize: _Normalize | str | None = None,
    normalize_scores: bool = False,
) -> npt.NDArray[Any]: ...
def similarity(
    patterns: npt.ArrayLike,
    queries: npt.ArrayLike,
    similarity: _Similarity = "dot",
    *,
    transform: _Transform | str | None = None,
    eps: _Number | None = None,
    gamma: _Number | None = None,
) -> npt.NDArray[Any]: ...
def separate(
    scores: npt.ArrayLike,
    separation: _Separation = "softmax",
    *,
    beta: _Number | None = None,
    degree: _Number | None = None,
    k: SupportsIndex | None = None,
    alpha: _Number | None = None,
    theta: _Number | None = None,
    normalize: _Normalize | str | None = None,
    normalize_scores: bool = False,
) -> npt.NDArray[Any]: ...
def attention(
    queries: npt.ArrayLike,
    keys: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    beta: _Number | None = None,
    mask: npt.ArrayLike | None = None,
    out: _Array | None = None,
) -> npt.NDArray[Any]: ...
def merge(parts: Iterable[Partial]) -> Partial: ...
def similarities() -> dict[str, str]: ...
def separations() -> dict[str, str]: ...
def cpu_info() -> _CpuInfo: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def _rebuild_memory(
    patterns: Any, values: Any, prior: Any, keywords: dict[str, Any], /
) -> Memory: ...
def _memory_read(memory: Memory, name: str, start: int, n: int, /) -> npt.NDArray[Any]: ...
def _memory_map(
    patterns: Any, values: Any, prior: Any, keywords: dict[str, Any], /
) -> Memory: ...
def _partial_for(
    memory: Memory,
    purpose: str,
    queries: npt.NDArray[Any],
    k: int,
    score_sums: npt.NDArray[np.float64] | None,
    n_threads: int,
    /,
) -> Partial: ...
def _partial_answers(partial: Partial, /) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]: ...
def _partial_energies(
    partial: Partial, states: npt.NDArray[Any], /
) -> npt.NDArray[np.float64]: ...
def _partial_nearest(partial: Partial, /) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]: ...
def _partial_score_sums(partial: Partial, /) -> npt.NDArray[np.float64]: ...
def _rebuild_partial(wire: Any, single: bool, /) -> Partial: ...
def _take_rows(array: Any, name: str, n_columns: int, /) -> tuple[npt.NDArray[Any], bool]: ...

# landscape: what uhn.analysis calls
def _landscape_fixed_points(weights: Any, bias: Any, /) -> npt.NDArray[np.uint64]: ...

# Learning rules, of uhn.models.hopfield.
def _learn_storkey(
    weights: npt.NDArray[np.float64],
    patterns: npt.NDArray[np.int8],
    mask: npt.NDArray[np.uint8] | None,
    /,
) -> None: ...
def _learn_perceptron(
    patterns: npt.NDArray[np.int8],
    mask: npt.NDArray[np.uint8] | None,
    kappa: float,
    max_raises: int,
    /,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]: ...
def _learn_start(seed: int, dream: int, n_units: int, /) -> npt.NDArray[np.int8]: ...
def _learn_dream(
    weights: npt.NDArray[np.float64],
    state: npt.NDArray[np.int8],
    step: float,
    mask: npt.NDArray[np.uint8] | None,
    /,
) -> None: ...

# Networks of couplings between pairs: network_functions.c.
def _network_settle(
    states: npt.NDArray[np.int8],
    couplings: npt.NDArray[Any],
    n_patterns: int,
    scale: float,
    bias: npt.NDArray[np.float64] | None,
    keep_diagonal: bool,
    schedule: tuple[Any, ...],
    /,
) -> tuple[
    npt.NDArray[np.int8],
    npt.NDArray[np.int64],
    npt.NDArray[np.uint8],
    npt.NDArray[np.uint8],
]: ...
def _network_fields(
    states: npt.NDArray[np.int8],
    couplings: npt.NDArray[Any],
    n_patterns: int,
    scale: float,
    bias: npt.NDArray[np.float64] | None,
    keep_diagonal: bool,
    /,
) -> npt.NDArray[np.float64]: ...
def _network_energies(
    states: npt.NDArray[np.int8],
    couplings: npt.NDArray[Any],
    n_patterns: int,
    scale: float,
    bias: npt.NDArray[np.float64] | None,
    keep_diagonal: bool,
    /,
) -> npt.NDArray[np.float64]: ...
def _network_hebb(
    counts: npt.NDArray[np.int32], patterns: npt.NDArray[np.int8], sign: int, /
) -> None: ...
def _pack_columns(rows: npt.NDArray[np.int8], /) -> npt.NDArray[np.uint32]: ...
def _pack_rows(rows: npt.NDArray[np.int8], /) -> npt.NDArray[np.uint64]: ...

# The dense associative memory: the engine is a capsule, a schedule from make_schedule.
def _dense_new(
    patterns: npt.NDArray[np.int8], interaction: str, degree: float, scaled: bool, /
) -> object: ...
def _dense_settle(
    engine: object, states: npt.NDArray[np.int8], schedule: tuple[Any, ...], /
) -> tuple[
    npt.NDArray[np.int8],
    npt.NDArray[np.int8],
    npt.NDArray[np.int64],
    npt.NDArray[np.uint8],
    npt.NDArray[np.uint8],
]: ...
def _dense_energies(
    engine: object, states: npt.NDArray[np.int8], /
) -> npt.NDArray[np.float64]: ...
def _dense_differences(
    engine: object, states: npt.NDArray[np.int8], /
) -> npt.NDArray[np.float64]: ...

# Sparse distributed memory: addresses uint64, counters int16, rows int8.
def _sdm_addresses(
    seed: int, first: int, n_features: int, out: npt.NDArray[np.uint64], /
) -> None: ...
def _sdm_write(
    addresses: npt.NDArray[np.uint64],
    counters: npt.NDArray[np.int16],
    n_features: int,
    radius: int,
    rows: npt.NDArray[np.int8],
    words: npt.NDArray[np.int8],
    n_written: npt.NDArray[np.int64],
    /,
) -> npt.NDArray[np.int64]: ...
def _sdm_read(
    addresses: npt.NDArray[np.uint64],
    counters: npt.NDArray[np.int16],
    n_features: int,
    radius: int,
    queries: npt.NDArray[np.int8],
    tie: str,
    what: str,
    /,
) -> tuple[Any, npt.NDArray[np.int64]]: ...
def _sdm_active(
    addresses: npt.NDArray[np.uint64],
    n_features: int,
    radius: int,
    queries: npt.NDArray[np.int8],
    /,
) -> npt.NDArray[np.uint8]: ...
