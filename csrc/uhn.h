/*
 * uhn.h - universal Hopfield networks: associative memories as one equation.
 *
 *     z = P . sep(sim(M, q))
 *
 * M holds one pattern a row, P one value a row (P = M when a memory completes its own patterns). A
 * similarity turns a query into one score a pattern, a separation turns the scores into weights,
 * the projection adds the values up under those weights. This header is the whole public face of
 * the C core; it needs no Python and no other header of this directory.
 *
 *     uhn_memory *memory;
 *     uhn_equation equation = uhn_equation_default();            // dot product, softmax, beta = 1
 *     uhn_rows rows = {.patterns = patterns, .n_rows = 1000};
 *     uhn_memory_new(UHN_FLOAT32, 784, 0, &memory);
 *     uhn_memory_store(memory, &rows, NULL);
 *     uhn_retrieve(memory, &equation, queries, 32, NULL, out, NULL, NULL);
 *     uhn_memory_free(memory);
 *
 * Matrices are row-major without gaps: patterns (n_patterns x n_features), values (n_patterns x
 * n_values), queries (n_queries x n_features). Elements are float or double, as the memory's dtype
 * says, and everything a call reads or writes has that one type.
 *
 * Same bits. The answer to a query has the same bits whatever else is in the call, for any number
 * of threads, for any history of stores and edits, and on any CPU path. `pass.c` says how.
 *
 * Threads. A memory may be read from any number of threads while one stores or edits: a reader sees
 * the rows as they were when its call began. Two stores or edits of one memory are put in order by a lock.
 * Partials are immutable. Nothing else is shared.
 *
 * Errors. A call returns UHN_OK or a negative status and then has changed nothing but, perhaps, its
 * output buffers; where the last parameter is a `uhn_error *` (may be NULL) it also receives a
 * sentence that names the argument.
 */
#ifndef UHN_H
#define UHN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UHN_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------ status -- */

typedef enum uhn_status {
    UHN_OK = 0,
    UHN_NO_MEMORY = -1,     /* an allocation failed */
    UHN_BAD_SHAPE = -2,     /* sizes that do not fit one another, or overflow */
    UHN_BAD_PARAMETER = -3, /* a number outside its bounds */
    UHN_BAD_NAME = -4,      /* no such row in a table */
    UHN_BAD_DATA = -5,      /* NaN, infinity, or values outside a similarity's domain */
    UHN_EMPTY = -6,         /* nothing stored, or no pattern can answer (every score is -inf) */
    UHN_MISMATCH = -7,      /* partials of different equations, or whose rows overlap */
    UHN_OVERFLOW = -8,      /* the result does not fit the type */
    UHN_CALLBACK = -9,      /* the caller's own similarity or separation failed */
    UHN_STOPPED = -10,      /* the stop callback asked to stop */
    UHN_NO_ENERGY = -11     /* the equation is not the gradient of anything */
} uhn_status;

/* A few words for a status, in English, without a full stop; never NULL. */
const char *uhn_status_string(uhn_status status);

typedef struct uhn_error {
    uhn_status status;
    char message[400]; /* a sentence that names the argument and the fix; "" if there is none */
} uhn_error;

/* ------------------------------------------------------------------------------------ tables -- */

typedef enum uhn_dtype { UHN_FLOAT32 = 0, UHN_FLOAT64 = 1 } uhn_dtype;

/* Rows of similarity.def, in its order. Larger is more similar: a distance d enters as -d. */
typedef enum uhn_similarity {
#define UHN_SIMILARITY(name, ...) UHN_SIM_##name,
#include "similarity.def"
#undef UHN_SIMILARITY
    UHN_N_SIMILARITIES,
    UHN_SIM_custom /* the caller's own: `score` of the equation */
} uhn_similarity;

/* How a distance d becomes a similarity. */
typedef enum uhn_transform {
    UHN_NEGATIVE = 0, /* -d */
    UHN_INVERSE, /* 1 / (d + eps); +inf where d + eps is 0, which stands for "an exact match" */
    UHN_RBF,     /* exp(-gamma d^2); for sqeuclidean, a square already, exp(-gamma d) */
    UHN_N_TRANSFORMS
} uhn_transform;

/* Rows of separation.def, in its order. */
typedef enum uhn_separation {
#define UHN_SEPARATION(name, ...) UHN_SEP_##name,
#include "separation.def"
#undef UHN_SEPARATION
    UHN_N_SEPARATIONS,
    UHN_SEP_custom /* the caller's own: `weigh` of the equation */
} uhn_separation;

typedef enum uhn_normalize {
    UHN_NORMALIZE_NONE = 0, /* the weights as they are */
    UHN_NORMALIZE_SUM,      /* divided by the sum of their magnitudes */
    UHN_N_NORMALIZES
} uhn_normalize;

/* What a table says about one row. All strings are static. `parameters` is a comma-separated list
 * of the fields of uhn_equation that the row reads ("" for none). */
typedef struct uhn_row_info {
    const char *name;
    const char *doc;
    const char *parameters;
    const char *lagrangian; /* separations: what its weights are the gradient of */
    bool is_distance;       /* similarities: may be transformed */
    bool non_negative;      /* similarities: defined for non-negative data only */
    bool is_simplex; /* separations: the weights are non-negative and sum to 1 by definition */
    bool has_normalize; /* separations: `normalize` may be UHN_NORMALIZE_SUM */
    bool has_prior;     /* separations: prior weights are defined */
} uhn_row_info;

/* NULL if `row` is out of range. */
const uhn_row_info *uhn_similarity_info(uhn_similarity row);
const uhn_row_info *uhn_separation_info(uhn_separation row);

/* ---------------------------------------------------------------------------------- equation -- */

/* The caller's own similarity: fills scores (n_queries x n_rows) for n_rows consecutive patterns,
 * the first of which has number `first_row`. Returns 0, or anything else to give up. Called on the
 * thread that made the call, for tiles of at most 128 patterns. */
typedef int (*uhn_score_fn)(void *context, size_t first_row, const void *patterns,
                            size_t n_rows, const void *queries, size_t n_queries, void *scores);

/* The caller's own separation: turns scores (n_queries x n_rows) into weights in place, row by row
 * of patterns: the weight of a pattern may depend on its own score alone. Returns 0 or gives up. */
typedef int (*uhn_weigh_fn)(void *context, size_t first_row, size_t n_rows, size_t n_queries,
                            void *scores);

/* One row of each table with its parameters. Start from uhn_equation_default(). */
typedef struct uhn_equation {
    uhn_similarity similarity;
    uhn_transform transform; /* distances only */
    double eps;   /* UHN_INVERSE: >= 0, added to d. kl and its kin: >= 0, added to both
                                  distributions before they are normalised again */
    double gamma; /* UHN_RBF: > 0, finite */
    uhn_separation separation;
    uhn_normalize normalize;
    bool normalize_scores; /* divide the scores by their sum over all patterns first */
    double beta;           /* inverse temperature, finite, >= 0: multiplies the score */
    double degree;         /* of (rectified) polynomials: > 0, finite */
    double theta;          /* threshold: weight 1 where score >= theta */
    double alpha;          /* entmax: >= 1; 1 is softmax, 2 sparsemax */
    size_t k;              /* top-k: >= 1; more than there are patterns means all of them */
    bool missing; /* NaN in a query stands for a feature that is not known (csrc/missing.h) */
    bool clamp;   /* of such queries: an answer that is a state keeps what its query knew */
    uhn_score_fn score; /* UHN_SIM_custom */
    void *score_context;
    uhn_weigh_fn weigh; /* UHN_SEP_custom */
    void *weigh_context;
} uhn_equation;

/* dot, softmax, beta 1, degree 2, theta 0, alpha 1.5, k 1, eps 0, gamma 1, nothing normalised, nothing
 * missing, clamp. */
uhn_equation uhn_equation_default(void);

/* UHN_OK if every parameter is inside its bounds. */
uhn_status uhn_equation_check(const uhn_equation *equation, uhn_error *error);

/* How a call runs; NULL means the default everywhere. `stop(stop_context)` is polled between blocks
 * by the thread that made the call; a non-zero answer ends the call with UHN_STOPPED. */
typedef struct uhn_run {
    int n_threads; /* 0: uhn_num_threads() */
    int (*stop)(void *context);
    void *stop_context;
} uhn_run;

/* ------------------------------------------------------------------------------------ memory -- */

typedef struct uhn_memory uhn_memory;

/* Rows to store. With `borrow` the rows are used where they lie: they must stay readable and
 * unchanged until `release(owner)` is called (once, from any thread; may be NULL), which may be before
 * the store returns: a few rows added to many are copied rather than borrowed. Without `borrow` they
 * are copied before the call returns, and `release` is not called. */
typedef struct uhn_rows {
    const void *patterns; /* n_rows x n_features */
    const void *values;   /* n_rows x n_values; NULL for an autoassociative memory */
    const void
        *prior; /* n_rows weights, each finite and > 0, always copied; NULL means all 1 */
    size_t n_rows;
    bool borrow;
    bool
        unseen; /* borrowed rows are looked at when they are first asked, not when they are stored */
    bool missing; /* NaN in patterns and values stands for a feature that is not known */
    void (*release)(void *owner);
    void *owner;
    const uhn_run *run; /* polled while the rows are looked at; NULL: nothing is */
} uhn_rows;

/* An empty memory. n_features >= 1; n_values = 0 makes it autoassociative (the patterns are the
 * values). `first_row` is the number of its first pattern: 0 unless the memory is a shard. */
uhn_status uhn_memory_new(uhn_dtype dtype, size_t n_features, size_t n_values, size_t first_row,
                          uhn_memory **out);

/* Another memory with the same rows, sharing them; later stores into either are its own. */
uhn_status uhn_memory_copy(const uhn_memory *memory, uhn_memory **out);

/* Frees the memory; rows borrowed by no other copy are released. NULL is allowed. No other call on
 * this handle may be running. */
void uhn_memory_free(uhn_memory *memory);

/* Appends rows. UHN_BAD_DATA names the first NaN or infinity, or a prior that is not > 0 (of rows that
 * are `unseen` and borrowed, it is the first call to read them that does). On any error nothing was
 * stored and nothing borrowed (`release` is not called). */
uhn_status uhn_memory_store(uhn_memory *memory, const uhn_rows *rows, uhn_error *error);

/* Edits. Rows are counted from 0 whatever first_row is, in any order, none twice (UHN_BAD_SHAPE). After
 * any edits a memory answers, bit for bit, as a new one does that was given the rows it now has; calls
 * that are running see the rows as they were. On an error nothing has changed.
 *
 * Rows that were removed leave their room soon after: what is kept has room for at most twice the rows
 * there are, the spare room of a store and 64 KiB. A borrowed array of which less than half is left may
 * be copied and released; one that was stored `unseen` is released with its last row. */

/* Takes rows out; the rows behind them move up. */
uhn_status uhn_memory_remove(uhn_memory *memory, const size_t *rows, size_t n,
                             uhn_error *error);

/* Puts row i of `with` in the place of rows[i]; without priors the places keep theirs. The rows are
 * always copied and looked at: with `borrow`, `release` is called before the call returns. */
uhn_status uhn_memory_replace(uhn_memory *memory, const size_t *rows, const uhn_rows *with,
                              uhn_error *error);

/* Gives rows[i] the prior number i, finite and > 0; rows NULL: all rows, which are n. */
uhn_status uhn_memory_set_prior(uhn_memory *memory, const size_t *rows, size_t n,
                                const void *prior, uhn_error *error);

uhn_dtype uhn_memory_dtype(const uhn_memory *memory);
size_t uhn_memory_n_patterns(const uhn_memory *memory);
size_t uhn_memory_n_features(const uhn_memory *memory);
size_t uhn_memory_n_values(const uhn_memory *memory); /* n_features if autoassociative */
bool uhn_memory_is_autoassociative(const uhn_memory *memory);
bool uhn_memory_has_prior(const uhn_memory *memory);
size_t uhn_memory_first_row(const uhn_memory *memory);
/* True if a pattern or a value may lack a feature: rows were stored as `missing` and one of them does,
 * or nobody has looked yet. */
bool uhn_memory_has_missing(const uhn_memory *memory);
/* Bytes of patterns, values and priors together, and how many of them this library allocated. */
size_t uhn_memory_bytes(const uhn_memory *memory, size_t *owned);
/* Bytes this library allocated for the rows, spare room and rows that were removed included. */
size_t uhn_memory_held(const uhn_memory *memory);

/* Copies rows [start, start + n_rows), counted from 0 whatever first_row is, into the buffers that
 * are not NULL. UHN_BAD_SHAPE if the range leaves the memory. */
uhn_status uhn_memory_read(const uhn_memory *memory, size_t start, size_t n_rows,
                           void *patterns, void *values, void *prior);

/* Where patterns [start, start + n_rows) lie if they lie together, else NULL. Valid while the
 * memory, or a copy of it, lives and is not edited. */
const void *uhn_memory_view(const uhn_memory *memory, size_t start, size_t n_rows);

/* UHN_OK if rows (n_rows x n_columns) are finite and inside the domain of the equation's
 * similarity. The message calls them `what` ("patterns", "queries") and names row and column. */
uhn_status uhn_check_rows(uhn_dtype dtype, const void *rows, size_t n_rows, size_t n_columns,
                          const uhn_equation *equation, const char *what, const uhn_run *run,
                          uhn_error *error);

/* ----------------------------------------------------------------------------------- running -- */

/* Threads a call may use. It starts as UHN_NUM_THREADS if that is a positive number, else the number
 * of CPUs this process may run on. Setting it affects later calls; n < 1 is UHN_BAD_PARAMETER. */
int uhn_num_threads(void);
uhn_status uhn_set_num_threads(int n);

/* The CPU path in use ("generic", "avx2", "avx512", "neon"), chosen at the first call of anything;
 * the environment variable UHN_CPU overrides, and an unknown or unsupported name there ends the
 * process with a message. `available` is a comma-separated list. */
const char *uhn_cpu_path(void);
const char *uhn_cpu_available(void);

/* --------------------------------------------------------------------------------- retrieval -- */

/* z = P . sep(sim(M, q)) for every query: out is (n_queries x n_values). `answered` (n_queries
 * bytes, may be NULL) is 0 where no pattern had any weight and the row of out is zeros (where weights
 * are sums; a simplex with nothing to answer is UHN_EMPTY), else 1. Scratch is bounded by the block
 * sizes, not by n_patterns, except for sparsemax and entmax, which keep the scores that may still
 * matter.
 *
 * Where features may be missing: scores are those of what both sides know; the answer for a feature is
 * that of a memory of the rows that know it; with `clamp` and an autoassociative memory, a feature that
 * the query knows stays as it is. What nobody can answer is NaN, not an error. */
uhn_status uhn_retrieve(const uhn_memory *memory, const uhn_equation *equation,
                        const void *queries, size_t n_queries, const uhn_run *run, void *out,
                        uint8_t *answered, uhn_error *error);

typedef enum uhn_stop_reason {
    UHN_FIXED_POINT = 0, /* the last step changed no component by more than tol */
    UHN_TWO_CYCLE = 1,   /* the state is, bit for bit, the one two steps ago */
    UHN_STEP_LIMIT = 2,
    UHN_NONE_ACTIVE = 3 /* no pattern answered */
} uhn_stop_reason;

/* Iterates q := retrieve(q), each query on its own, until it rests or n_steps are done (>= 0). With
 * tol < 0 nothing stops early: exactly n_steps. states (n_queries x n_features), and, where not
 * NULL, per query: the query from which the last step was made (n_queries x n_features), steps done,
 * why it stopped (uhn_stop_reason), largest change of a component in the last step (as double; infinite
 * where a missing one was filled). With `clamp` what the first query knew stays in every step.
 * n_values must equal n_features unless n_steps is 0. */
uhn_status uhn_recall(const uhn_memory *memory, const uhn_equation *equation,
                      const void *queries, size_t n_queries, size_t n_steps, double tol,
                      const uhn_run *run, void *states, void *asked, int64_t *steps,
                      uint8_t *reasons, double *changes, uhn_error *error);

/* The energy of states (n_states x n_features) under q := retrieve(q): out (n_states), in double. With
 * L the Lagrangian of the separation,
 *
 *     dot             E(v) = 1/2 |v|^2 - L(M v)
 *     sqeuclidean     E(v) = -L(-d^2),  weights on the simplex
 *
 * for an autoassociative memory and weights as they are; else UHN_NO_ENERGY and the reason. The numbers
 * come from the pass that retrieves: its references and sums are a log-sum-exp already. */
uhn_status uhn_energy(const uhn_memory *memory, const uhn_equation *equation,
                      const void *states, size_t n_states, const uhn_run *run, double *out,
                      uhn_error *error);

/* The gradient of that energy: v - z for dot, 2 (v - z) for sqeuclidean, with z = retrieve(v). out is
 * (n_states x n_features) of the memory's dtype. */
uhn_status uhn_energy_gradient(const uhn_memory *memory, const uhn_equation *equation,
                               const void *states, size_t n_states, const uhn_run *run,
                               void *out, uhn_error *error);

/* UHN_OK if the energy cannot rise when a state becomes its own query: L is convex, and then
 * E(v') <= E(v) - 1/2 |v' - v|^2 for dot (the concave-convex procedure). UHN_NO_ENERGY with the
 * reason otherwise: no energy, or polynomials of a degree that is not odd, convex only for scores
 * that are never negative. */
uhn_status uhn_lyapunov(const uhn_memory *memory, const uhn_equation *equation,
                        uhn_error *error);

/* sim(M, q): out is (n_queries x n_patterns). */
uhn_status uhn_scores(const uhn_memory *memory, const uhn_equation *equation,
                      const void *queries, size_t n_queries, const uhn_run *run, void *out,
                      uhn_error *error);

/* sep(sim(M, q)): out is (n_queries x n_patterns). */
uhn_status uhn_weights(const uhn_memory *memory, const uhn_equation *equation,
                       const void *queries, size_t n_queries, const uhn_run *run, void *out,
                       uhn_error *error);

/* The k most similar patterns (1 <= k <= n_patterns), best first, ties to the lowest index, counted
 * from 0 whatever first_row is: indices and scores are (n_queries x k). */
uhn_status uhn_nearest(const uhn_memory *memory, const uhn_equation *equation,
                       const void *queries, size_t n_queries, size_t k, const uhn_run *run,
                       int64_t *indices, void *scores, uhn_error *error);

/* sep(scores) for given scores (n_queries x n_patterns); the similarity is not looked at. */
uhn_status uhn_separate(uhn_dtype dtype, const uhn_equation *equation, const void *scores,
                        size_t n_queries, size_t n_patterns, const uhn_run *run, void *out,
                        uhn_error *error);

/* One head of attention: out (n_queries x n_values) = sep(queries . keys^T) . values. `mask`, if not
 * NULL, is (n_queries x n_keys) bytes, `mask_stride` bytes from one query's row to the next (0 shares
 * one row); a key whose byte is 0 has no weight. A query that may attend to nothing gets zeros. */
typedef struct uhn_head {
    const void *queries, *keys, *values;
    const uint8_t *mask;
    size_t mask_stride;
    void *out;
} uhn_head;

/* Attention for n_heads heads of one shape. The equation's similarity must be a built-in one; its
 * separation one that sums weights or softmax. */
uhn_status uhn_attention(uhn_dtype dtype, const uhn_equation *equation, const uhn_head *heads,
                         size_t n_heads, size_t n_queries, size_t n_keys, size_t n_features,
                         size_t n_values, const uhn_run *run, uhn_error *error);

/* --------------------------------------------------------------------------- two-state units -- */

/* Networks of units that are +1 or -1, kept as int8_t, one state a row (n_states x n_units). What
 * follows is shared by network.c, learning.c, dense.c and sdm.c. */

/* What a unit does when nothing pulls it either way. */
typedef enum uhn_tie {
    UHN_TIE_KEEP = 0, /* stays as it is: the only rule under which an energy argument ends */
    UHN_TIE_PLUS,
    UHN_TIE_MINUS,
    UHN_N_TIES
} uhn_tie;

/* In which order units are looked at. A sweep is n_units looks (n_given for UHN_ORDER_GIVEN). */
typedef enum uhn_order {
    UHN_ORDER_SYNC = 0,    /* all at once: one step of the Little dynamics */
    UHN_ORDER_PERMUTATION, /* every unit once, in a random order that is new each sweep */
    UHN_ORDER_REPLACEMENT, /* units drawn at random, with replacement */
    UHN_ORDER_SEQUENTIAL,  /* 0, 1, 2, ... */
    UHN_ORDER_GIVEN,       /* as listed, again each sweep */
    UHN_N_ORDERS
} uhn_order;

/* The dynamics of one call. The order and the randomness come from the seed and the number of the
 * sweep alone: all states of a call share them, so that no state's answer depends on another's, and
 * a run cut in two by first_sweep is the run in one piece. */
typedef struct uhn_schedule {
    uhn_order order;
    const int64_t *given; /* UHN_ORDER_GIVEN: n_given units, each in [0, n_units) */
    size_t n_given;
    uint64_t seed;
    size_t first_sweep, n_sweeps; /* sweeps [first_sweep, first_sweep + n_sweeps) at most */
    uhn_tie tie;
    const uint8_t *clamped;     /* n_units bytes, not 0: the unit stays; NULL: none does */
    const double *temperatures; /* n_sweeps, each >= 0 (0: the sign rule); NULL: all 0 */
} uhn_schedule;

/* UHN_OK if every number is inside its bounds. */
uhn_status uhn_schedule_check(const uhn_schedule *schedule, size_t n_units, uhn_error *error);

/* The units of one sweep in their order: out has room for n_units (n_given) numbers. Not for
 * UHN_ORDER_SYNC. */
void uhn_schedule_sweep(const uhn_schedule *schedule, size_t n_units, size_t sweep,
                        int64_t *out);

/* Bits of +1 for two-state rows (n_rows x n_columns, of +1 and -1). By rows: word w of a row holds its
 * columns 64 w to 64 w + 63, lowest bit first, ceil(n_columns / 64) words a row. By columns: word w
 * of a column holds rows 32 w to 32 w + 31, ceil(n_rows / 32) words a column, one column after the
 * other. Bits beyond the last are 0. */
void uhn_pack_rows(const int8_t *rows, size_t n_rows, size_t n_columns, uint64_t *out);
void uhn_pack_columns(const int8_t *rows, size_t n_rows, size_t n_columns, uint32_t *out);

/* ----------------------------------------------------------------------------------- network -- */

/* A network of two-state units with couplings between pairs: unit i feels the field
 *
 *     h_i = scale sum_j C_ij s_j + b_i.
 *
 * The couplings are given in exactly one form, borrowed, and read by column: element [j * n_units + i]
 * is what unit j does to unit i (for symmetric couplings that is row-major as well). Whole numbers are
 * added exactly, so that a field of 0 is a real tie, and so that Hebbian counts give the same answers
 * as the patterns they were counted from. */
typedef struct uhn_network {
    size_t n_units; /* >= 1; below 2^16 for counts16 and below 2^21 for columns */
    const int16_t *counts16;
    const int32_t *counts32;
    const double *weights;
    const uint32_t *columns; /* C = sum xi xi^T: n_patterns as uhn_pack_columns leaves them */
    size_t n_patterns;       /* of columns */
    bool
        keep_diagonal; /* false: C_ii counts as 0, whatever it is; weights are taken as they are */
    double scale;      /* > 0 */
    const double *bias; /* n_units; NULL: all 0 */
} uhn_network;

/* Runs the dynamics from every row of `start` (n_states x n_units, of +1 and -1), each on its own,
 * until it rests or the schedule ends. After a sweep at temperature 0 a state is at a fixed point if
 * every unit that the schedule can visit and that is not clamped agrees with its field. `states` may
 * be `start`. Per state: sweeps done, why it stopped (uhn_stop_reason; two-cycles for UHN_ORDER_SYNC
 * alone), and whether the last sweep flipped a unit. Sums of doubles are added four units at a time,
 * ((w0 + w1) + (w2 + w3)), in ascending order of these, and afresh before each sweep that follows a
 * flip, so that rounding cannot build up. */
uhn_status uhn_network_settle(const uhn_network *network, const uhn_schedule *schedule,
                              const int8_t *start, size_t n_states, const uhn_run *run,
                              int8_t *states, int64_t *sweeps, uint8_t *codes, uint8_t *changed,
                              uhn_error *error);

/* The field of every unit: out is (n_states x n_units). */
uhn_status uhn_network_fields(const uhn_network *network, const int8_t *states, size_t n_states,
                              const uhn_run *run, double *out, uhn_error *error);

/* E = -1/2 scale sum_ij C_ij s_i s_j - sum_i b_i s_i, with the diagonal that the fields see: out is
 * (n_states). */
uhn_status uhn_network_energies(const uhn_network *network, const int8_t *states,
                                size_t n_states, const uhn_run *run, double *out,
                                uhn_error *error);

/* Hebb's rule in whole numbers: counts (n_units x n_units) += sign sum xi xi^T over patterns
 * (n_patterns x n_units, of +1 and -1); sign is 1 or -1, which forgets. UHN_OVERFLOW if a count
 * leaves its type; after any error the counts are what they were. */
uhn_status uhn_network_hebb(int32_t *counts, size_t n_units, const int8_t *patterns,
                            size_t n_patterns, int sign, const uhn_run *run, uhn_error *error);

/* ---------------------------------------------------------------------------- learning rules -- */

/* Rules that learn couplings of two-state units pattern by pattern, of learning.c. `mask` (n_units x
 * n_units bytes, 0 where there is no connection; NULL: all are there) has a weight 0 where it is 0. A
 * unit has no weight from itself. Patterns are n_patterns x n_units, of +1 and -1. */

/* Storkey's rule: learns each pattern in turn into `weights` (n_units x n_units, symmetric, diagonal 0;
 * in place). The mask must be symmetric. Stopped, it leaves weights half learned. */
uhn_status uhn_learn_storkey(const int8_t *patterns, size_t n_patterns, size_t n_units,
                             const uint8_t *mask, const uhn_run *run, double *weights,
                             uhn_error *error);

/* The perceptron rule of Krauth and Mezard: every unit, from weights 0, is raised on its least stable
 * pattern (the lowest of equals) until x_i sum_j w_ij x_j >= kappa |w_i| and > 0 on all of them, or
 * max_raises (<= INT32_MAX) are done. weights (n_units x n_units): row i has the weights into unit i;
 * stabilities (n_units): the least of sum_j x_i w_ij x_j / |w_i|, 0 where w_i is 0. */
uhn_status uhn_learn_perceptron(const int8_t *patterns, size_t n_patterns, size_t n_units,
                                const uint8_t *mask, double kappa, size_t max_raises,
                                const uhn_run *run, int32_t *weights, double *stabilities,
                                uhn_error *error);

/* The random state that dream number `dream` of a seed begins with. */
void uhn_learn_start(uint64_t seed, uint64_t dream, size_t n_units, int8_t *state);

/* Unlearns a state: weights_ij -= step s_i s_j where i != j and the mask is not 0. */
void uhn_learn_dream(const int8_t *state, size_t n_units, double step, const uint8_t *mask,
                     double *weights);

/* ------------------------------------------------------------------ dense associative memory -- */

/* E(s) = -sum over patterns xi of F(xi . s) (Krotov and Hopfield 2016; Demircigil et al. 2017). */
typedef enum uhn_interaction {
    UHN_POLYNOMIAL = 0,       /* F(x) = x^n, n a whole number */
    UHN_RECTIFIED_POLYNOMIAL, /* F(x) = x^n for x > 0, else 0 */
    UHN_EXPONENTIAL, /* F(x) = exp(x); energies are -log(-E), which order states alike */
    UHN_N_INTERACTIONS
} uhn_interaction;

/* Patterns and interaction, for any number of calls from any number of threads; immutable. */
typedef struct uhn_dense uhn_dense;

/* From patterns (n_patterns x n_units, of +1 and -1), which are copied. `degree` is n, 2 <= n <= 1e6
 * (not looked at for UHN_EXPONENTIAL); with `scaled` F is taken of x / n_units, which divides energies
 * by n_units^n and changes nothing else. */
uhn_status uhn_dense_new(const int8_t *patterns, size_t n_patterns, size_t n_units,
                         uhn_interaction interaction, double degree, bool scaled,
                         const uhn_run *run, uhn_dense **out, uhn_error *error);
void uhn_dense_free(uhn_dense *dense); /* NULL is allowed */

size_t uhn_dense_n_units(const uhn_dense *dense);

/* Runs states (n_states x n_units, of +1 and -1) in place until each rests or the sweeps are done.
 *
 * Asynchronously a unit turns over if that lowers the energy; the states of a run without temperature
 * and with UHN_TIE_KEEP therefore end. Synchronously s = sign(M^T F'(M s)). Where F is too steep for the
 * patterns' shares to be added exactly, a change smaller than 2^-50 of them counts as none. At
 * temperature T a unit becomes +1 with probability 1 / (1 + exp(d / T)), where d is the change of energy
 * from -1 to +1, or, synchronously, that change to first order.
 *
 * After a sweep at temperature 0 a state is at a fixed point if no unit that the order may visit and that
 * is not clamped would turn over.
 *
 * Where not NULL, per state: `before` the state at the beginning of its last sweep, the sweeps done, why
 * they ended (uhn_stop_reason; two-cycles for UHN_ORDER_SYNC alone), whether the last sweep changed
 * anything. */
uhn_status uhn_dense_settle(const uhn_dense *dense, const uhn_schedule *schedule,
                            int8_t *states, size_t n_states, const uhn_run *run, int8_t *before,
                            int64_t *sweeps, uint8_t *reasons, uint8_t *changed,
                            uhn_error *error);

/* Energies (n_states), and what turning over each unit alone would add to them (n_states x n_units).
 * UHN_OVERFLOW if one does not fit a double. */
uhn_status uhn_dense_energies(const uhn_dense *dense, const int8_t *states, size_t n_states,
                              const uhn_run *run, double *out, uhn_error *error);
uhn_status uhn_dense_differences(const uhn_dense *dense, const int8_t *states, size_t n_states,
                                 const uhn_run *run, double *out, uhn_error *error);

/* ----------------------------------------------------------------- sparse distributed memory -- */

/* Kanerva's memory: hard locations, each with a fixed address and a row of counters (sdm.c).
 * A location is active for a query whose address differs from its own in at most `radius`
 * bits (0 to n_features). Writing adds a word (+1 and -1) to the counters of every active
 * location; reading adds up the counters of the active ones, exactly, and takes the signs:
 *
 *     word = sign(P thresh(hamming(A, q) <= radius)),   P = sum over writes of word thresh(...)^T
 *
 * Addresses, words and queries are two-state rows as above. Both arrays are the caller's;
 * nobody may write to a memory while another call uses it. */
typedef struct uhn_sdm {
    size_t n_locations, n_features, n_values;
    const uint64_t *addresses; /* as uhn_pack_rows makes them of n_locations x n_features */
    int16_t *counters; /* n_locations x n_values, each from -32767 to 32767, where it stays */
} uhn_sdm;

/* Random addresses of the locations from `first` on: each depends on its own number and the
 * seed alone. */
void uhn_sdm_addresses(uint64_t seed, size_t first, size_t n_locations, size_t n_features,
                       uint64_t *out);

/* Writes words (n_rows x n_values) at addresses (n_rows x n_features), one after the other
 * in their order, which matters only to counters at their bound. A call that is stopped has
 * written the first *n_written rows and nothing of the others; any other failure has written
 * none. `n_active` (n_rows, may be NULL) receives how many locations took each row. */
uhn_status uhn_sdm_write(const uhn_sdm *sdm, size_t radius, const int8_t *addresses,
                         const int8_t *words, size_t n_rows, const uhn_run *run,
                         size_t *n_written, int64_t *n_active, uhn_error *error);

/* Reads at queries (n_queries x n_features). Where not NULL: `words` and `sums` (n_queries x
 * n_values) are the signs and the sums of counters, `n_active` (n_queries) the number of
 * active locations; without `words` and `sums` the counters are not looked at. A sum of 0,
 * and so all of a query without an active location, goes by `tie`; UHN_TIE_KEEP is the
 * query's own bit and needs n_values = n_features. */
uhn_status uhn_sdm_read(const uhn_sdm *sdm, size_t radius, const int8_t *queries,
                        size_t n_queries, uhn_tie tie, const uhn_run *run, int8_t *words,
                        int64_t *sums, int64_t *n_active, uhn_error *error);

/* active (n_queries x n_locations) is 1 where a location is active for a query, else 0. */
uhn_status uhn_sdm_active(const uhn_sdm *sdm, size_t radius, const int8_t *queries,
                          size_t n_queries, const uhn_run *run, uint8_t *active,
                          uhn_error *error);

/* --------------------------------------------------------------------------------- landscape -- */

enum { UHN_LANDSCAPE_UNITS = 30 };

/* Which of the 2^n_units states of a network are fixed points: s_i (W s + b)_i >= 0 for every unit,
 * ties keeping the state (n_units from 1 to UHN_LANDSCAPE_UNITS). weights (n_units x n_units) need
 * not be symmetric; bias (n_units) may be NULL. `stable` has 2^n_units bits, rounded up to whole
 * words, lowest bit first: bit c is that of the state whose unit i is +1 where bit i of c is set.
 * Exact for whole numbers whose sums stay below 2^52; for others a field that is 0 but for the
 * rounding of weights and sum is a tie. On an error `stable` holds anything. */
uhn_status uhn_fixed_points(const double *weights, const double *bias, size_t n_units,
                            const uhn_run *run, uint64_t *stable, uhn_error *error);

/* ---------------------------------------------------------------------------------- partials -- */

/* What queries have retrieved so far from some of the patterns. Merging is associative; the order
 * and the places of the cuts do not change a bit of the finished answer. */
typedef struct uhn_partial uhn_partial;

/* The partial of rows [start, stop), counted from 0 whatever first_row is. Equations with
 * normalize_scores are refused: their first pass needs every shard's scores. */
uhn_status uhn_partial_new(const uhn_memory *memory, const uhn_equation *equation,
                           const void *queries, size_t n_queries, size_t start, size_t stop,
                           const uhn_run *run, uhn_partial **out, uhn_error *error);

/* What a partial is made for. All but answers need no values: such a partial has n_values = 0 and is
 * a few numbers a query, whatever the width of the memory. */
typedef enum uhn_purpose {
    UHN_FOR_ANSWERS = 0, /* uhn_partial_finish */
    UHN_FOR_ENERGIES,    /* uhn_partial_energies; UHN_NO_ENERGY as uhn_energy says it */
    UHN_FOR_NEAREST,     /* uhn_partial_nearest, of equation->k patterns */
    UHN_FOR_SCORE_SUMS   /* uhn_partial_score_sums */
} uhn_purpose;

/* As uhn_partial_new, for any purpose. With `score_sums` (n_queries, of uhn_partial_score_sums over all
 * rows of all shards; answers only) an equation with normalize_scores is answered. */
uhn_status uhn_partial_for(uhn_purpose purpose, const uhn_memory *memory,
                           const uhn_equation *equation, const void *queries, size_t n_queries,
                           size_t start, size_t stop, const double *score_sums,
                           const uhn_run *run, uhn_partial **out, uhn_error *error);

/* One partial of them all (n_parts >= 1). UHN_MISMATCH if they are not of the same queries' count,
 * sizes and equation, or if two of them hold the same row. Parts are left as they are. */
uhn_status uhn_partial_merge(const uhn_partial *const *parts, size_t n_parts, uhn_partial **out,
                             uhn_error *error);

/* As uhn_retrieve: out (n_queries x n_values), answered (n_queries) or NULL. */
uhn_status uhn_partial_finish(const uhn_partial *partial, void *out, uint8_t *answered,
                              uhn_error *error);

/* As uhn_energy (states: n_queries x n_features, those that the partial was asked), uhn_nearest (k a
 * query, but rows are numbered from 0 and not from first_row), and what scores are divided by. */
uhn_status uhn_partial_energies(const uhn_partial *partial, const void *states,
                                size_t n_features, double *out, uhn_error *error);
uhn_status uhn_partial_nearest(const uhn_partial *partial, int64_t *indices, void *scores,
                               uhn_error *error);
uhn_status uhn_partial_score_sums(const uhn_partial *partial, double *out, uhn_error *error);
size_t uhn_partial_k(const uhn_partial *partial); /* of its equation */
void uhn_partial_free(uhn_partial *partial);      /* NULL is allowed */

uhn_dtype uhn_partial_dtype(const uhn_partial *partial);
size_t uhn_partial_n_queries(const uhn_partial *partial);
size_t uhn_partial_n_values(const uhn_partial *partial);
size_t uhn_partial_n_patterns(const uhn_partial *partial); /* rows it holds */

/* Wire form: a flat buffer for files, pipes and pickles, of this machine's byte order. Reading
 * checks every size; the callbacks of a custom equation are not carried (merge works, as it needs
 * the weights alone). */
size_t uhn_partial_wire_size(const uhn_partial *partial);
void uhn_partial_write(const uhn_partial *partial, void *buffer);
uhn_status uhn_partial_read(const void *buffer, size_t n_bytes, uhn_partial **out,
                            uhn_error *error);

#ifdef __cplusplus
}
#endif
#endif
