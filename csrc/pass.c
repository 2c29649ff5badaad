/*
 * pass.c - tiles of patterns against blocks of queries.
 *
 * Same bits. A result is defined by the global row numbers alone: tiles of UHN_TILE rows and blocks of
 * UHN_BLOCK rows are counted from row 0, a block takes its tiles in order, and blocks are merged by
 * the perfect binary tree over the block number. Inside, no sum ever depends on another query, on the
 * width of a vector or on where a chunk ends. So threads, blocks of queries, chunks and shards are
 * free to be whatever is fast.
 *
 * Within a block, a tile first raises each query's reference to its own largest key, and what was
 * gathered before is rescaled; then its weights are made and its values added.
 */
#include "pass.h"

#include "missing.h"
#include "pages.h"
#include "scalar.h"

#include <stdatomic.h>

/* ----------------------------------------------------------------------------------------- plan */

/* Whether the rows may be more than memory keeps: those of a large file that was mapped. All blocks
 * of queries go over one range of them before the next range is read. */
static bool is_large(const uhn_pass *pass) {
    enum { LARGE = 256 << 20 };
    for (size_t i = 0; i < pass->n_problems; i++) {
        const uhn_list *list = pass->problems[i].list;
        for (size_t j = 0; j < list->n_spans; j++)
            if (list->spans[j].chunk->seen &&
                list->spans[j].n_rows * pass->shape.n_features > LARGE / pass->shape.size)
                return true;
    }
    return false;
}

/* Splits the work. Blocks of queries are as large as leaves their features and sums in the second
 * level of cache together; ranges of rows are cut, at powers of two so that each is one node, until
 * there are enough tasks to keep the threads equally busy. */
static void plan(uhn_pass *pass, int n_threads) {
    enum { CACHE = 320 << 10, MOST = 192, TASKS_A_THREAD = 8 };
    enum { MOST_RANGES = 32, SUMS_BYTES = 64 << 20 };
    const uhn_shape *shape = &pass->shape;
    const size_t V = shape->kernels->vector, panel = V * shape->kernels->panel_vectors;
    size_t n_queries = 1, n_blocks = 1;
    for (size_t i = 0; i < pass->n_problems; i++) {
        const uhn_problem *p = &pass->problems[i];
        n_queries = UHN_MAX(n_queries, p->n_queries);
        n_blocks = UHN_MAX(n_blocks, (p->first_row + p->stop) / UHN_BLOCK -
                                         (p->first_row + p->start) / UHN_BLOCK + 1);
    }
    const size_t width = shape->n_features * (shape->missing           ? 4
                                              : shape->similarity.logs ? 2
                                                                       : 1) +
                         (shape->project ? shape->value_stride : 0) + UHN_TILE + UHN_STRIP;
    size_t block = CACHE / (width * shape->size) / panel * panel;
    block = UHN_MIN(UHN_MAX(block, panel), (size_t)MOST / panel * panel);
    pass->block_queries = UHN_MIN(block, n_queries);
    pass->n_query_blocks = (n_queries + pass->block_queries - 1) / pass->block_queries;

    pass->range_blocks = 1;
    while (pass->range_blocks < n_blocks) pass->range_blocks *= 2;
    pass->n_ranges = 1;
    /* Each range has sums of its own for every query. */
    const double answers = (double)n_queries * (double)(shape->n_values * shape->size);
    const size_t n_parts = (size_t)UHN_MIN(UHN_MAX(SUMS_BYTES / answers, 1), MOST_RANGES);
    pass->by_ranges = pass->n_query_blocks > 1 && n_parts > 1 && is_large(pass);
    if (n_threads > 1 || pass->by_ranges) {
        size_t wanted = (size_t)n_threads * TASKS_A_THREAD;
        if (pass->by_ranges) wanted = UHN_MAX(wanted, pass->n_query_blocks * n_parts);
        while (pass->range_blocks > 1 && pass->n_problems * pass->n_query_blocks *
                                                 ((n_blocks - 1) / pass->range_blocks + 1) <
                                             wanted)
            pass->range_blocks /= 2;
        pass->n_ranges = (n_blocks - 1) / pass->range_blocks + 2;
    }
}

int uhn_pass_threads(const uhn_pass *pass) {
    const uhn_equation *e = pass->shape.equation;
    double work = 0;
    for (size_t i = 0; i < pass->n_problems; i++)
        work += (double)pass->problems[i].n_queries *
                (double)(pass->problems[i].stop - pass->problems[i].start);
    /* Starting a thread costs as much as some ten million multiplications. */
    if (work * (double)(pass->shape.n_features + pass->shape.n_values) < 1e7) return 1;
    if (e->similarity == UHN_SIM_custom || e->separation == UHN_SEP_custom) return 1;
    return uhn_run_threads(pass->run);
}

/* -------------------------------------------------------------------------------------- scratch */

typedef struct panel {
    size_t first, n, lanes; /* queries of the block: from `first`, n of them */
    char *packed, *logs, *S;
    uhn_part part; /* where features may be missing */
} panel;

/* What one thread works with; sized once by the plan. */
typedef struct scratch {
    char *memory;
    panel *panels;
    size_t n_panels;
    char *queries, *query_logs;  /* prepared, row-major */
    const char *few;             /* the queries where they are too few for panels, else NULL */
    char *rows, *row_logs;       /* a tile, prepared */
    char *patterns, *values;     /* a tile that lies across chunks */
    char *scales, *prior, *bias; /* per row of a tile */
    double *priors;              /* the same as `prior`, in double */
    double *wide;                /* S in double */
    char *tail;                  /* for project() */
    char *top, *reference, *sum; /* per lane */
    char *custom;                /* for callers' functions */
    /* Where features may be missing: queries, rows and values in parts (missing.h). */
    char *query_part[3], *packed_part[3], *row_part[3], *value_part[2];
    size_t *query_counts, *row_counts;
    uint32_t *open; /* components that a query lacks; as many as n_open says */
    size_t *n_open;
    char *part_scores; /* for uhn_part_scores */
    char *known;       /* sums of a tile over the rows that know a value */
    uhn_node *spare;   /* nodes to use again */
} scratch;

typedef struct piece {
    char **at;
    size_t a, b;
} piece;

static uhn_status scratch_new(const uhn_pass *pass, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const size_t size = shape->size, V = shape->kernels->vector;
    const size_t lanes = uhn_round_up(pass->block_queries, V) + V;
    const size_t n_panels = lanes / V;
    const size_t nf = shape->n_features, nv = shape->n_values, tile = UHN_TILE + UHN_STRIP;
    const bool logs = shape->similarity.logs;
    const size_t part = shape->missing ? size : 0, known = shape->known ? size : 0;
    char *panels, *packed, *packed_logs, *S, *priors, *wide, *query_counts, *row_counts;
    char *open, *n_open;
    const piece pieces[] = {
        {&panels, n_panels, sizeof(panel)},
        {&packed, lanes * size, nf},
        {&packed_logs, logs ? lanes * size : 0, nf},
        {&S, lanes * size, tile},
        {&s->queries, pass->block_queries * size, nf},
        {&s->query_logs, logs ? pass->block_queries * size : 0, nf},
        {&s->rows, logs ? UHN_TILE * size : 0, nf},
        {&s->row_logs, logs ? UHN_TILE * size : 0, nf},
        {&s->patterns, UHN_TILE * size, nf},
        {&s->values, UHN_TILE * size, nv},
        {&s->scales, tile, size},
        {&s->prior, tile, size},
        {&s->bias, tile, size},
        {&priors, tile, sizeof(double)},
        {&wide, UHN_MAX_LANES * sizeof(double), tile},
        {&s->tail, UHN_TILE * V, size},
        {&s->top, UHN_MAX_LANES, size},
        {&s->reference, UHN_MAX_LANES, size},
        {&s->sum, UHN_MAX_LANES, size},
        {&s->custom, lanes * size, tile},
        {&s->query_part[0], pass->block_queries * part, nf},
        {&s->query_part[1], pass->block_queries * part, nf},
        {&s->query_part[2], pass->block_queries * part, nf},
        {&s->packed_part[0], lanes * part, nf},
        {&s->packed_part[1], lanes * part, nf},
        {&s->packed_part[2], lanes * part, nf},
        {&s->row_part[0], UHN_TILE * part, nf},
        {&s->row_part[1], UHN_TILE * part, nf},
        {&s->row_part[2], UHN_TILE * part, nf},
        {&s->value_part[0], UHN_TILE * known, nv},
        {&s->value_part[1], UHN_TILE * known, nv},
        {&query_counts, pass->block_queries, sizeof(size_t)},
        {&row_counts, UHN_TILE, sizeof(size_t)},
        {&open, shape->known ? pass->block_queries * sizeof(uint32_t) : 0, nv},
        {&n_open, pass->block_queries, sizeof(size_t)},
        {&s->part_scores, 4 * UHN_MAX_LANES * part, tile},
        {&s->known, UHN_MAX_LANES * known, shape->value_stride},
    };
    enum { N = sizeof pieces / sizeof *pieces };
    size_t offsets[N], total = 0;
    for (int i = 0; i < N; i++) {
        size_t bytes;
        if (!uhn_mul(pieces[i].a, pieces[i].b, 1, &bytes)) return UHN_NO_MEMORY;
        offsets[i] = total;
        total += uhn_round_up(bytes, UHN_ALIGNMENT);
        if (total > PTRDIFF_MAX / 2) return UHN_NO_MEMORY;
    }
    s->memory = uhn_alloc(total, 1, 1);
    if (!s->memory) return UHN_NO_MEMORY;
    for (int i = 0; i < N; i++) *pieces[i].at = s->memory + offsets[i];
    s->panels = (panel *)panels;
    s->priors = (double *)priors;
    s->wide = (double *)wide;
    s->query_counts = (size_t *)query_counts;
    s->row_counts = (size_t *)row_counts;
    s->open = (uint32_t *)open;
    s->n_open = (size_t *)n_open;
    /* Every panel's buffers follow from where it begins. */
    s->panels[0] = (panel){.packed = packed, .logs = packed_logs, .S = S};
    return UHN_OK;
}

/* Queries of a block in parts, and the panels' parts of them. */
static void load_query_parts(const uhn_pass *pass, const char *queries, size_t n, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t nf = shape->n_features, row = nf * shape->size;
    const bool squares = uhn_part_squares(&shape->similarity);
    for (size_t i = 0; i < n; i++)
        s->query_counts[i] =
            kernels->part_row(queries + i * row, uhn_part_normalizes(&shape->similarity), nf,
                              s->query_part[0] + i * row, s->query_part[1] + i * row,
                              squares ? s->query_part[2] + i * row : NULL);
    for (size_t p = 0; p < s->n_panels; p++) {
        panel *panel = &s->panels[p];
        const size_t at = panel->first * row;
        for (int k = 0; k < 2 + squares && !s->few; k++)
            kernels->pack(s->query_part[k] + at, nf, panel->n, nf, panel->lanes,
                          s->packed_part[k] + at);
        char **forms = s->few ? s->query_part : s->packed_part;
        panel->part = (uhn_part){.raw = s->few ? queries + at : panel->packed,
                                 .numbers = forms[0] + at,
                                 .known = forms[1] + at,
                                 .squares = forms[2] + at,
                                 .few = s->few != NULL,
                                 .rows = queries + at,
                                 .counts = s->query_counts + panel->first,
                                 .n = panel->n};
        for (size_t i = 0; i < panel->n; i++)
            panel->part.n_whole += panel->part.counts[i] == nf;
    }
}

/* Packs a block of queries into panels of equal widths. */
static void load_queries(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                         size_t n, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t size = shape->size, nf = shape->n_features, V = kernels->vector;
    const size_t vectors = (n + V - 1) / V;
    s->n_panels = (vectors + kernels->panel_vectors - 1) / kernels->panel_vectors;
    const size_t each = (vectors + s->n_panels - 1) / s->n_panels;
    char *packed = s->panels[0].packed, *logs = s->panels[0].logs, *S = s->panels[0].S;
    const bool built_in = !problem->given && shape->equation->similarity != UHN_SIM_custom;
    const bool prepared = built_in && (shape->similarity.logs ||
                                       shape->similarity.statistic != UHN_STATISTIC_none);
    const char *queries = problem->queries + (problem->given ? 0 : first * nf * size);
    if (prepared) {
        for (size_t i = 0; i < n; i++)
            uhn_prepare_query(kernels, shape->dtype, &shape->similarity,
                              queries + i * nf * size, nf, s->queries + i * nf * size,
                              s->query_logs + i * nf * size);
        queries = s->queries;
    }
    s->few = built_in && n <= kernels->few && kernels->score_few[shape->similarity.kernel]
                 ? queries
                 : NULL;
    for (size_t p = 0, done = 0; p < s->n_panels; p++) {
        const size_t wide = UHN_MIN(each, vectors - done / V) * V;
        panel *panel = &s->panels[p];
        panel->first = done;
        panel->n = UHN_MIN(wide, n - done);
        panel->lanes = wide;
        panel->packed = packed + done * nf * size;
        panel->logs = logs + done * nf * size;
        panel->S = S + done * (UHN_TILE + UHN_STRIP) * size;
        if (built_in && !s->few) {
            kernels->pack(queries + done * nf * size, nf, panel->n, nf, wide, panel->packed);
            if (shape->similarity.logs)
                kernels->pack(s->query_logs + done * nf * size, nf, panel->n, nf, wide,
                              panel->logs);
        }
        done += wide;
    }
    if (built_in && shape->missing)
        load_query_parts(pass, problem->queries + first * nf * size, n, s);
    for (size_t i = 0; shape->known && i < n; i++) {
        s->n_open[i] = 0;
        for (size_t j = 0; problem->clamp && j < nf; j++)
            if (isnan(uhn_get(shape->dtype, problem->queries, (first + i) * nf + j)))
                s->open[i * nf + s->n_open[i]++] = (uint32_t)j;
    }
}

/* ---------------------------------------------------------------------------------------- tiles */

typedef struct tile {
    size_t row, n;  /* of the list */
    int64_t global; /* number of its first row */
    const char *patterns, *values;
    const char *scales;
    const double *priors; /* NULL: all 1 */
    const char *ahead;    /* values of the rows after it, or near them; NULL: not known */
    uhn_part part;        /* where features may be missing */
    const char *known;    /* of the values, 1 or 0; NULL: all are known */
} tile;

/* The one component that is asked for of every value, 0 where it is missing. */
static void load_column(const uhn_pass *pass, const uhn_problem *problem, tile *t, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_rows_context rows = {.list = problem->list,
                                   .first_row = problem->first_row,
                                   .bytes = problem->width * shape->size,
                                   .offset = problem->column * shape->size};
    for (size_t r = 0; r < t->n; r++)
        shape->kernels->part_row(uhn_list_row(&rows, t->global + (int64_t)r), false, 1,
                                 s->values + r * shape->size, s->prior + r * shape->size, NULL);
    t->values = s->values;
    t->known = s->prior;
    t->ahead = NULL;
}

/* Rows of a tile, and their values, in parts. `whole`: nothing is missing in any row. */
static void load_tile_parts(const uhn_pass *pass, bool whole, tile *t, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const size_t nf = shape->n_features, row = nf * shape->size;
    const size_t nv = shape->n_values, value = nv * shape->size;
    const bool squares = uhn_part_squares(&shape->similarity);
    t->part = (uhn_part){.raw = t->patterns,
                         .numbers = s->row_part[0],
                         .known = s->row_part[1],
                         .squares = s->row_part[2],
                         .rows = t->patterns,
                         .counts = s->row_counts,
                         .n = t->n};
    if (whole && !uhn_part_normalizes(&shape->similarity)) {
        t->part.numbers = t->patterns;
        t->part.n_whole = t->n;
        for (size_t r = 0; r < t->n; r++) s->row_counts[r] = nf;
        return;
    }
    for (size_t r = 0; r < t->n; r++) {
        s->row_counts[r] =
            shape->kernels->part_row(t->patterns + r * row,
                                     uhn_part_normalizes(&shape->similarity), nf,
                                     s->row_part[0] + r * row, s->row_part[1] + r * row,
                                     squares ? s->row_part[2] + r * row : NULL);
        t->part.n_whole += s->row_counts[r] == nf;
    }
    if (!shape->known) return;
    size_t n_known = 0;
    for (size_t r = 0; r < t->n; r++)
        n_known += shape->kernels->part_row(t->values + r * value, false, nv,
                                            s->value_part[0] + r * value,
                                            s->value_part[1] + r * value, NULL);
    if (n_known == t->n * nv) return;
    t->values = s->value_part[0];
    t->known = s->value_part[1];
    t->ahead = NULL;
}

/* What will be read next, to be fetched early: the rows from `at` on, if the span goes on or only a few
 * rows were removed where it ends. */
static const char *rows_ahead(const uhn_list *list, const uhn_span *span, size_t at,
                              size_t bytes) {
    const size_t end = span->offset + span->n_rows;
    const uhn_span *next = span + 1 < list->spans + list->n_spans ? span + 1 : span;
    const bool goes_on = at + UHN_TILE <= end ||
                         (next->chunk == span->chunk && next->offset - end < UHN_TILE / 8 &&
                          at + UHN_TILE <= next->offset + next->n_rows);
    return goes_on ? span->chunk->values + at * bytes : NULL;
}

static tile load_tile(const uhn_pass *pass, const uhn_problem *problem, size_t row, size_t n,
                      scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const size_t size = shape->size, nf = shape->n_features * size, nv = shape->n_values * size;
    const uhn_statistic statistic = shape->similarity.statistic;
    tile t = {.row = row, .n = n, .global = (int64_t)(problem->first_row + row)};
    const uhn_list *list = problem->list;
    const uhn_span *span = uhn_list_span(list, row);
    size_t at = uhn_span_at(span, row);
    if (list->prior) {
        shape->kernels->widen(list->prior + row * size, n, s->priors);
        t.priors = s->priors;
    }
    if (problem->given) {
        /* One chunk, whose patterns nobody needs. */
        t.values = span->chunk->values ? span->chunk->values + at * nv : NULL;
        return t;
    }
    if (at + n <= span->offset + span->n_rows) {
        const uhn_chunk *chunk = span->chunk;
        t.patterns = chunk->patterns + at * nf;
        t.values = chunk->values + at * nv;
        if (statistic) t.scales = chunk->scales[statistic] + at * size;
        t.ahead = rows_ahead(list, span, at + n, nv);
        if (!chunk->owned) {
            const size_t end =
                span->offset + UHN_MIN(span->n_rows, problem->stop - span->first);
            uhn_pages_ahead(chunk->patterns, at * nf, (at + n) * nf, end * nf);
            if (chunk->values != chunk->patterns && shape->project && !problem->width)
                uhn_pages_ahead(chunk->values, at * nv, (at + n) * nv, end * nv);
        }
    } else {
        /* Values that are the patterns all through the tile need not be gathered twice. */
        bool apart = false;
        for (const uhn_span *piece = span; !apart; piece++) {
            apart = piece->chunk->values != piece->chunk->patterns;
            if (row + n <= piece->first + piece->n_rows) break;
        }
        for (size_t done = 0; done < n; span++) {
            const uhn_chunk *chunk = span->chunk;
            at = uhn_span_at(span, row + done);
            const size_t m = UHN_MIN(span->offset + span->n_rows - at, n - done);
            memcpy(s->patterns + done * nf, chunk->patterns + at * nf, m * nf);
            if (apart) memcpy(s->values + done * nv, chunk->values + at * nv, m * nv);
            if (statistic)
                memcpy(s->scales + done * size, chunk->scales[statistic] + at * size, m * size);
            done += m;
            t.ahead = rows_ahead(list, span, at + m, nv);
        }
        t.patterns = s->patterns;
        t.values = apart ? s->values : s->patterns;
        if (statistic) t.scales = s->scales;
    }
    if (problem->width && !problem->open_start) load_column(pass, problem, &t, s);
    if (shape->missing) load_tile_parts(pass, !list->missing, &t, s);
    if (shape->similarity.logs)
        for (size_t r = 0; r < n; r++)
            shape->kernels->prepare(t.patterns + r * nf, uhn_get(shape->dtype, t.scales, r),
                                    shape->similarity.eps, shape->similarity.halves,
                                    shape->n_features, s->rows + r * nf, s->row_logs + r * nf);
    return t;
}

/* Scores of a tile from the caller's own function, into all panels. */
static uhn_status custom_scores(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                                size_t n, const tile *t, scratch *s) {
    const uhn_equation *e = pass->shape.equation;
    const uhn_shape *shape = &pass->shape;
    const char *queries = problem->queries + first * shape->n_features * shape->size;
    if (e->score(e->score_context, (size_t)t->global, t->patterns, t->n, queries, n,
                 s->custom) != 0)
        return UHN_CALLBACK;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        for (size_t r = 0; r < t->n; r++)
            for (size_t i = 0; i < panel->lanes; i++)
                uhn_put(shape->dtype, panel->S, r * panel->lanes + i,
                        i < panel->n
                            ? uhn_get(shape->dtype, s->custom, (panel->first + i) * t->n + r)
                            : 0);
    }
    return UHN_OK;
}

/* Scores of a tile against one panel by a built-in similarity. */
static void score_features(const uhn_shape *shape, const tile *t, const panel *panel,
                           scratch *s) {
    const uhn_kernels *kernels = shape->kernels;
    const uhn_score_kernel kernel = shape->similarity.kernel;
    const size_t lanes = panel->lanes, nf = shape->n_features;
    const bool logs = shape->similarity.logs;
    const bool whole =
        !shape->missing || (t->part.n_whole == t->n && panel->part.n_whole == panel->n);
    if (whole ||
        (uhn_part_normalizes(&shape->similarity) && t->part.n_whole && panel->part.n_whole)) {
        if (s->few)
            kernels->score_few[kernel](t->patterns, nf, t->n, s->few, panel->n, nf, lanes,
                                       panel->S);
        else
            kernels->score[kernel](logs ? s->rows : t->patterns, s->row_logs, nf, t->n,
                                   panel->packed, panel->logs, nf, lanes, panel->first == 0,
                                   panel->S);
        kernels->finish(&shape->similarity.finish, t->scales, t->n, lanes, panel->S);
    }
    if (!whole)
        uhn_part_scores(kernels, shape->dtype, &shape->similarity, &t->part, &panel->part, nf,
                        lanes, s->part_scores, panel->S);
}

/* Scores of a tile against one panel, in panel->S. */
static void score(const uhn_pass *pass, const uhn_problem *problem, size_t first, const tile *t,
                  const panel *panel, scratch *s) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const uhn_dtype dtype = shape->dtype;
    const size_t lanes = panel->lanes;
    if (problem->given) {
        const size_t n_columns = problem->list->n_rows;
        for (size_t i = 0; i < lanes; i++)
            for (size_t r = 0; r < t->n; r++)
                uhn_put(dtype, panel->S, r * lanes + i,
                        i < panel->n
                            ? uhn_get(dtype, problem->given,
                                      (first + panel->first + i) * n_columns + t->row + r)
                            : 0);
    } else if (shape->equation->similarity != UHN_SIM_custom) {
        score_features(shape, t, panel, s);
    }
    for (size_t r = 0; problem->width && !problem->open_start && r < t->n; r++)
        for (size_t i = 0; i < lanes && uhn_get(dtype, t->known, r) == 0; i++)
            uhn_put(dtype, panel->S, r * lanes + i, -INFINITY);
    for (size_t i = 0; problem->mask && i < panel->n; i++) {
        const uint8_t *mask =
            problem->mask + (first + panel->first + i) * problem->mask_stride + t->row;
        for (size_t r = 0; r < t->n; r++)
            if (!mask[r]) uhn_put(dtype, panel->S, r * lanes + i, -INFINITY);
    }
    if (problem->score_sums) {
        const double *sums = problem->score_sums + first + panel->first;
        for (size_t i = 0; i < lanes; i++) {
            /* A negative sum stands for: that many exact matches, each with an infinite score. */
            const bool exact = i < panel->n && sums[i] < 0;
            uhn_put(dtype, s->reference, i, i < panel->n && sums[i] != 0 ? fabs(sums[i]) : 1);
            for (size_t r = 0; exact && r < t->n; r++)
                uhn_put(dtype, panel->S, r * lanes + i,
                        uhn_get(dtype, panel->S, r * lanes + i) == INFINITY);
        }
        kernels->divide(s->reference, t->n, lanes, panel->S);
    }
}

/* -------------------------------------------------------------------------------- scores to sums */

/* Weights of a tile in units of `reference` (per query of the panel), in place of its scores. False if
 * none is above 0. */
static uhn_status weigh(const uhn_pass *pass, const tile *t, const panel *panel,
                        const double *reference, scratch *s, double *sums, double *lagrangian,
                        bool *any) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t lanes = panel->lanes;
    if (shape->separation.family == UHN_FAMILY_exp) {
        for (size_t i = 0; i < lanes; i++) {
            double r = i < panel->n ? reference[i] : -INFINITY;
            if (r == INFINITY) {
                /* Exact matches share the weight. */
                for (size_t k = 0; k < t->n; k++) {
                    const bool exact =
                        uhn_get(shape->dtype, panel->S, k * lanes + i) == INFINITY;
                    uhn_put(shape->dtype, panel->S, k * lanes + i,
                            exact ? t->priors ? uhn_log2(t->priors[k]) : 0 : -INFINITY);
                }
                r = 0;
            } else if (r == -INFINITY) {
                r = 0x1p100; /* far above any score: no weight */
            }
            uhn_put(shape->dtype, s->reference, i, r);
        }
        *any = kernels->exponentials(s->reference, shape->separation.cutoff, t->n, lanes,
                                     panel->S, s->sum);
        for (size_t i = 0; i < panel->n; i++) sums[i] += uhn_get(shape->dtype, s->sum, i);
        return UHN_OK;
    }
    double references[UHN_MAX_LANES], totals[UHN_MAX_LANES] = {0}, terms[UHN_MAX_LANES] = {0};
    for (size_t i = 0; i < lanes; i++) references[i] = i < panel->n ? reference[i] : 0;
    if (!uhn_weigh(&shape->separation, references, t->priors, t->n, lanes, s->wide, totals,
                   lagrangian ? terms : NULL))
        return UHN_BAD_DATA;
    for (size_t i = 0; lagrangian && i < panel->n; i++) lagrangian[i] += terms[i];
    kernels->narrow(s->wide, t->n * lanes, panel->S);
    *any = false;
    for (size_t i = 0; i < panel->n; i++) {
        sums[i] += totals[i];
        *any |= totals[i] != 0;
    }
    return UHN_OK;
}

/* Adds to node->known, per query and value, the weights of the tile's rows that know it. `sums` are those
 * of all rows of the tile, which are added where every row knows; the order of the additions is the
 * same, so that who lacks nothing has the bits of who cannot lack anything. */
static void add_known(const uhn_pass *pass, const tile *t, const panel *panel,
                      const double *sums, scratch *s, uhn_node *node) {
    const uhn_shape *shape = &pass->shape;
    const size_t n = shape->n_values, stride = shape->value_stride, lanes = panel->lanes;
    double *known = node->known + panel->first * n;
    if (!t->known) {
        for (size_t i = 0; i < panel->n; i++)
            for (size_t j = 0; j < n; j++) known[i * n + j] += sums[i];
        return;
    }
    if (shape->separation.family == UHN_FAMILY_exp) {
        memset(s->known, 0, panel->n * stride * shape->size);
        shape->kernels->project(panel->S, lanes, panel->n, t->known, n, t->n, n, s->tail,
                                s->known, stride, NULL);
        for (size_t i = 0; i < panel->n; i++)
            for (size_t j = 0; j < n; j++)
                known[i * n + j] += uhn_get(shape->dtype, s->known, i * stride + j);
        return;
    }
    for (size_t i = 0; i < panel->n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t r = 0; r < t->n; r++)
                if (uhn_get(shape->dtype, t->known, r * n + j) != 0)
                    sum += fabs(s->wide[r * lanes + i]);
            known[i * n + j] += sum;
        }
}

/* The caller's own separation, into s->wide. */
static uhn_status custom_weights(const uhn_pass *pass, const tile *t, const panel *panel,
                                 scratch *s) {
    const uhn_equation *e = pass->shape.equation;
    const uhn_dtype dtype = pass->shape.dtype;
    const size_t lanes = panel->lanes;
    for (size_t r = 0; r < t->n; r++)
        for (size_t i = 0; i < panel->n; i++)
            uhn_put(dtype, s->custom, i * t->n + r, uhn_get(dtype, panel->S, r * lanes + i));
    if (e->weigh(e->weigh_context, (size_t)t->global, t->n, panel->n, s->custom) != 0)
        return UHN_CALLBACK;
    for (size_t r = 0; r < t->n; r++)
        for (size_t i = 0; i < lanes; i++) {
            /* Who has no say gets no weight, whatever the function makes of it. */
            const bool silent =
                pass->shape.missing && uhn_get(dtype, panel->S, r * lanes + i) == -INFINITY;
            s->wide[r * lanes + i] = i >= panel->n ? 0
                                     : silent      ? -INFINITY
                                                   : uhn_get(dtype, s->custom, i * t->n + r);
        }
    return UHN_OK;
}

/* The largest key of a tile for one query, given that it is above `top`, of rows that know something the
 * query asks for. A row that knows none of it - the query's own, in a table that fills its own gaps -
 * must not set the scale on which those that answer may be nothing. */
static double top_of_those_who_know(const uhn_shape *shape, const tile *t, const panel *panel,
                                    size_t i, double top, double tops, scratch *s) {
    const size_t n_open = s->n_open[panel->first + i], nv = shape->n_values;
    const uint32_t *open = s->open + (panel->first + i) * nv;
    const bool exponential = shape->separation.family == UHN_FAMILY_exp;
    if (n_open == 0 || !t->known) return tops;
    tops = top;
    for (size_t r = 0; r < t->n; r++) {
        const size_t at = r * panel->lanes + i;
        double key = exponential ? uhn_get(shape->dtype, panel->S, at) : -INFINITY;
        if (!exponential) uhn_keys(&shape->separation, s->wide + at, 1, 1, &key);
        if (!(key > top)) continue;
        size_t k = 0;
        while (k < n_open && uhn_get(shape->dtype, t->known, r * nv + open[k]) == 0) k++;
        if (k < n_open) tops = UHN_MAX(tops, key);
        else if (exponential) uhn_put(shape->dtype, panel->S, at, -INFINITY);
        else s->wide[at] = -INFINITY;
    }
    return tops;
}

/* Largest keys of a tile, raised into `top` (per query of the panel); S becomes keys for exp, s->wide
 * holds the scores for the others. */
static uhn_status keys(const uhn_pass *pass, const tile *t, const panel *panel, scratch *s,
                       double *top) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t lanes = panel->lanes;
    double tops[UHN_MAX_LANES];
    if (shape->separation.family == UHN_FAMILY_exp) {
        for (size_t r = 0; t->priors && r < t->n; r++)
            uhn_put(shape->dtype, s->bias, r, uhn_log2(t->priors[r]));
        kernels->exponents(shape->separation.factor, t->priors ? s->bias : NULL, t->n, lanes,
                           panel->S, s->top);
        kernels->widen(s->top, panel->n, tops);
    } else {
        if (shape->equation->separation == UHN_SEP_custom) {
            const uhn_status status = custom_weights(pass, t, panel, s);
            if (status != UHN_OK) return status;
        } else {
            kernels->widen(panel->S, t->n * lanes, s->wide);
        }
        for (size_t i = 0; i < lanes; i++) tops[i] = -INFINITY;
        uhn_keys(&shape->separation, s->wide, t->n, lanes, tops);
    }
    for (size_t i = 0; i < panel->n; i++) {
        if (shape->known && tops[i] > top[i])
            tops[i] = top_of_those_who_know(shape, t, panel, i, top[i], tops[i], s);
        top[i] = UHN_MAX(top[i], tops[i]);
    }
    return UHN_OK;
}

/* Adds one tile to a node. */
static uhn_status absorb(const uhn_pass *pass, const uhn_problem *problem, size_t first,
                         const tile *t, scratch *s, uhn_node *node) {
    const uhn_shape *shape = &pass->shape;
    const uhn_kernels *kernels = shape->kernels;
    const size_t stride = shape->value_stride * shape->size;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        double *top = node->top + panel->first, *reference = node->reference + panel->first;
        double *sum = node->sum + panel->first;
        double *lagrangian = node->lagrangian + panel->first;
        score(pass, problem, first, t, panel, s);
        uhn_status status = keys(pass, t, panel, s, top);
        if (status != UHN_OK) return status;
        for (size_t i = 0; i < panel->n; i++) {
            const double now = uhn_reference(&shape->separation, top[i]);
            if (now == reference[i]) continue;
            const double factor = uhn_rescale(&shape->separation, reference[i], now);
            sum[i] *= factor;
            lagrangian[i] *= factor;
            for (size_t j = 0; node->known && j < shape->n_values; j++)
                node->known[(panel->first + i) * shape->n_values + j] *= factor;
            if (node->values)
                kernels->combine(node->values + (panel->first + i) * stride, factor, NULL, 0,
                                 shape->n_values);
            reference[i] = now;
        }
        bool any;
        double added[UHN_MAX_LANES] = {0};
        status = weigh(pass, t, panel, reference, s, added,
                       shape->lagrangian ? lagrangian : NULL, &any);
        for (size_t i = 0; i < panel->n; i++) sum[i] += added[i];
        if (status != UHN_OK) return status;
        if (node->known && any) add_known(pass, t, panel, added, s, node);
        if (any && node->values)
            kernels->project(panel->S, panel->lanes, panel->n, t->values, shape->n_values, t->n,
                             shape->n_values, s->tail, node->values + panel->first * stride,
                             shape->value_stride, panel->n <= kernels->few ? t->ahead : NULL);
    }
    return UHN_OK;
}

/* -------------------------------------------------------------------------------------- the loop */

typedef enum purpose { SUMS, CANDIDATES, SCORES, WEIGHTS } purpose;

typedef struct walk {
    uhn_pass *pass;
    purpose purpose;
    scratch *scratches;                /* one a worker */
    uhn_forest *forests;               /* one a task: SUMS */
    atomic_size_t *pending;            /* tasks left of each block of queries: SUMS */
    uhn_candidates *lists;             /* one a query: CANDIDATES */
    const double *references, *totals; /* one a query: WEIGHTS */
    pthread_mutex_t lock;              /* of `lists` and of the error */
} walk;

static uhn_status walk_fail(walk *w, uhn_status status) {
    uhn_error *error = w->pass->error;
    if (!error) return status;
    pthread_mutex_lock(&w->lock);
    if (error->status == UHN_OK) {
        const uhn_row_info *info = uhn_separation_info(w->pass->shape.separation.row);
        if (status == UHN_BAD_DATA)
            uhn_fail(error, status,
                     "a score is negative, and %s%s%s needs scores >= 0; for distances use "
                     "transform='inverse' or 'rbf'",
                     w->pass->shape.separation.non_negative ? "" : "separation '",
                     w->pass->shape.separation.non_negative ? "normalize_scores" : info->name,
                     w->pass->shape.separation.non_negative ? "" : "'");
        else if (status == UHN_NO_MEMORY) uhn_no_memory(error);
        else uhn_fail(error, status, "%s", uhn_status_string(status));
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* A tile's scores or weights to the rows of out, one a query. */
static uhn_status write_out(walk *w, const uhn_problem *problem, size_t first, const tile *t,
                            scratch *s) {
    const uhn_pass *pass = w->pass;
    const uhn_shape *shape = &pass->shape;
    const uhn_dtype dtype = shape->dtype;
    const size_t n_columns = problem->stop - problem->start;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        score(pass, problem, first, t, panel, s);
        if (w->purpose == WEIGHTS) {
            double top[UHN_MAX_LANES], ignored[UHN_MAX_LANES] = {0};
            bool any;
            for (size_t i = 0; i < panel->n; i++) top[i] = -INFINITY;
            uhn_status status = keys(pass, t, panel, s, top);
            if (status == UHN_OK)
                status = weigh(pass, t, panel, w->references + first + panel->first, s, ignored,
                               NULL, &any);
            if (status != UHN_OK) return status;
        }
        for (size_t i = 0; i < panel->n; i++) {
            const size_t query = first + panel->first + i;
            double factor = 1, divisor = 1;
            if (w->purpose == WEIGHTS)
                uhn_conclusion(&shape->separation, w->references[query], w->totals[query],
                               &factor, &divisor);
            for (size_t r = 0; r < t->n; r++) {
                double x = uhn_get(dtype, panel->S, r * panel->lanes + i);
                if (w->purpose == WEIGHTS && x != 0) x = x * factor / divisor;
                uhn_put(dtype, problem->out, query * n_columns + t->row - problem->start + r,
                        x);
                if (w->purpose == WEIGHTS
                        ? !isfinite(uhn_get(dtype, problem->out,
                                            query * n_columns + t->row - problem->start + r))
                        : isnan(x))
                    return UHN_OVERFLOW;
            }
        }
    }
    return UHN_OK;
}

/* Where the lists of a query begin. */
static size_t list_of(const uhn_problem *problem, size_t query) {
    return problem->open_start ? problem->open_start[query] : query;
}

/* Candidates of single components for the queries of one panel: a row is one for those it knows. */
static uhn_status collect_open(walk *w, const uhn_problem *problem, size_t first, const tile *t,
                               const panel *panel, const double *tops, uhn_candidates *lists) {
    const uhn_shape *shape = &w->pass->shape;
    const size_t begin = problem->open_start[first], width = problem->width;
    for (size_t i = 0; i < panel->n; i++) {
        const size_t query = first + panel->first + i;
        for (size_t k = problem->open_start[query]; k < problem->open_start[query + 1]; k++) {
            uhn_candidates *list = &lists[k - begin];
            if (list->floor != -INFINITY && !(tops[i] > list->floor)) continue;
            for (size_t r = 0; r < t->n; r++) {
                const double score = uhn_get(shape->dtype, panel->S, r * panel->lanes + i);
                if ((list->floor != -INFINITY && !(score > list->floor)) ||
                    score == -INFINITY ||
                    isnan(uhn_get(shape->dtype, t->values, r * width + problem->open[k])))
                    continue;
                const uhn_status status =
                    uhn_candidates_absorb(&shape->separation, list, &score, 1, 1,
                                          t->priors ? t->priors + r : NULL,
                                          t->global + (int64_t)r);
                if (status != UHN_OK) return status;
            }
        }
    }
    return UHN_OK;
}

static uhn_status collect(walk *w, const uhn_problem *problem, size_t first, const tile *t,
                          scratch *s, uhn_candidates *lists) {
    const uhn_shape *shape = &w->pass->shape;
    for (size_t p = 0; p < s->n_panels; p++) {
        const panel *panel = &s->panels[p];
        double tops[UHN_MAX_LANES];
        bool any = false;
        shape->kernels->tops(t->n, panel->lanes, panel->S, s->top);
        shape->kernels->widen(s->top, panel->n, tops);
        if (problem->open_start) {
            const uhn_status status = collect_open(w, problem, first, t, panel, tops, lists);
            if (status != UHN_OK) return status;
            continue;
        }
        for (size_t i = 0; i < panel->n; i++) {
            const double floor = lists[panel->first + i].floor;
            any |= floor == -INFINITY || tops[i] > floor;
        }
        if (!any) continue;
        shape->kernels->widen(panel->S, t->n * panel->lanes, s->wide);
        for (size_t i = 0; i < panel->n; i++) {
            const double floor = lists[panel->first + i].floor;
            if (floor != -INFINITY && !(tops[i] > floor)) continue;
            const uhn_status status =
                uhn_candidates_absorb(&shape->separation, &lists[panel->first + i], s->wide + i,
                                      panel->lanes, t->n, t->priors, t->global);
            if (status != UHN_OK) return status;
        }
    }
    return UHN_OK;
}

/* One block of queries over one range of rows. */
static uhn_status walk_range(walk *w, uhn_problem *problem, size_t first, size_t n,
                             size_t start, size_t stop, int worker, uhn_loop *loop, scratch *s,
                             uhn_forest *forest, uhn_candidates *lists) {
    uhn_pass *pass = w->pass;
    const uhn_shape *shape = &pass->shape;
    /* Row numbers here are global; the list's begin at first_row. */
    const size_t begin = problem->first_row;
    for (size_t row = start; row < stop;) {
        uhn_node *node = NULL;
        const size_t block = row / UHN_BLOCK,
                     block_end = UHN_MIN((block + 1) * UHN_BLOCK, stop);
        if (w->purpose == SUMS) {
            node = uhn_node_new(shape, n, 0, block, forest);
            if (!node) return UHN_NO_MEMORY;
        }
        uhn_status status = UHN_OK;
        while (row < block_end && status == UHN_OK) {
            const size_t end = UHN_MIN((row / UHN_TILE + 1) * UHN_TILE, block_end);
            const tile t = load_tile(pass, problem, row - begin, end - row, s);
            status = uhn_loop_poll(loop, worker);
            if (status == UHN_OK && problem->look)
                status = uhn_list_look(problem->list, problem->look, row - begin, end - begin,
                                       NULL, NULL);
            if (status == UHN_OK && !problem->given &&
                shape->equation->similarity == UHN_SIM_custom)
                status = custom_scores(pass, problem, first, n, &t, s);
            if (status != UHN_OK) break;
            if (w->purpose == SUMS) {
                status = absorb(pass, problem, first, &t, s, node);
            } else if (w->purpose == CANDIDATES) {
                for (size_t p = 0; p < s->n_panels; p++)
                    score(pass, problem, first, &t, &s->panels[p], s);
                status = collect(w, problem, first, &t, s, lists);
            } else {
                status = write_out(w, problem, first, &t, s);
            }
            row = end;
        }
        if (node) {
            node->below = NULL;
            uhn_forest_push(shape, n, forest, node);
        }
        if (status != UHN_OK) return status;
    }
    return UHN_OK;
}

/* Moves nodes to where the next task of this thread finds them. */
static void keep_spare(scratch *s, uhn_node **nodes) {
    while (*nodes) {
        uhn_node *node = *nodes;
        *nodes = node->below;
        node->below = s->spare;
        s->spare = node;
    }
}

static uhn_status walk_task(void *context, size_t task, int worker, uhn_loop *loop) {
    walk *w = context;
    uhn_pass *pass = w->pass;
    const size_t n_blocks = pass->n_problems * pass->n_query_blocks;
    const size_t block = pass->by_ranges ? task % n_blocks : task / pass->n_ranges;
    const size_t range = pass->by_ranges ? task / n_blocks : task % pass->n_ranges;
    const size_t query_block = block % pass->n_query_blocks;
    uhn_problem *problem = &pass->problems[block / pass->n_query_blocks];
    const size_t first = query_block * pass->block_queries;
    scratch *s = &w->scratches[worker];
    uhn_forest *forest = w->forests ? &w->forests[block * pass->n_ranges + range] : NULL;
    uhn_status status = UHN_OK;
    if (first >= problem->n_queries) return UHN_OK;
    const size_t n = UHN_MIN(pass->block_queries, problem->n_queries - first);
    if (!s->memory) {
        status = scratch_new(pass, s);
        if (status != UHN_OK) return walk_fail(w, status);
    }
    /* Ranges are counted from the one that holds the first row; a single one holds them all. */
    const size_t rows = pass->range_blocks * UHN_BLOCK;
    const size_t low = problem->first_row + problem->start;
    const size_t high = problem->first_row + problem->stop;
    size_t start = low, stop = high;
    if (pass->n_ranges > 1) {
        start = UHN_MAX((low / rows + range) * rows, low);
        stop = UHN_MIN((low / rows + range + 1) * rows, high);
    }
    uhn_candidates *lists = NULL;
    const size_t n_lists = list_of(problem, first + n) - list_of(problem, first);
    if (start < stop) {
        load_queries(pass, problem, first, n, s);
        if (w->purpose == CANDIDATES) {
            lists = malloc(UHN_MAX(n_lists, (size_t)1) * sizeof *lists);
            if (!lists) return walk_fail(w, UHN_NO_MEMORY);
            for (size_t i = 0; i < n_lists; i++) uhn_candidates_init(&lists[i]);
        }
        if (forest) *forest = (uhn_forest){.spare = s->spare, .capacity = pass->block_queries};
        if (forest) s->spare = NULL;
        status = walk_range(w, problem, first, n, start, stop, worker, loop, s, forest, lists);
        if (forest) keep_spare(s, &forest->spare);
        if (status != UHN_OK && status != UHN_STOPPED) walk_fail(w, status);
    }
    if (lists) {
        uhn_candidates *all = w->lists +
                              (size_t)(problem - pass->problems) * problem->n_queries +
                              list_of(problem, first);
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < n_lists; i++) {
            if (status == UHN_OK)
                status = uhn_candidates_merge(&pass->shape.separation, &all[i], lists[i].items,
                                              lists[i].n);
            uhn_candidates_free(&lists[i]);
        }
        pthread_mutex_unlock(&w->lock);
        free(lists);
    }
    if (status != UHN_OK || w->purpose != SUMS) return status;
    /* Whoever finishes a block of queries last joins its ranges, in the order of their rows. */
    if (atomic_fetch_sub(&w->pending[block], 1) != 1) return UHN_OK;
    uhn_forest joined = {0}, *parts = &w->forests[block * pass->n_ranges];
    for (size_t i = 0; i < pass->n_ranges; i++) {
        uhn_node *reversed = NULL;
        while (parts[i].last) {
            uhn_node *node = parts[i].last;
            parts[i].last = node->below;
            node->below = reversed;
            reversed = node;
        }
        while (reversed) {
            uhn_node *node = reversed;
            reversed = node->below;
            uhn_forest_push(&pass->shape, n, &joined, node);
        }
    }
    status = pass->conclude(pass, problem, first, n, &joined);
    keep_spare(s, &joined.last);
    keep_spare(s, &joined.spare);
    return status;
}

/* Threads find what is wrong with rows that nobody has seen in any order; the caller is told of the
 * first, whatever else went wrong. */
static uhn_status find_unseen(uhn_pass *pass, uhn_status status) {
    for (size_t i = 0; i < pass->n_problems; i++) {
        const uhn_problem *problem = &pass->problems[i];
        uhn_error error = {0};
        if (!problem->look) continue;
        const uhn_status seen = uhn_list_look(problem->list, problem->look, problem->start,
                                              problem->stop, pass->run, &error);
        if (seen == UHN_OK) continue;
        if (pass->error) *pass->error = error;
        return seen;
    }
    return status;
}

static uhn_status run_walk(walk *w) {
    uhn_pass *pass = w->pass;
    if (pass->error) *pass->error = (uhn_error){0};
    const int n_threads = uhn_pass_threads(pass);
    plan(pass, n_threads);
    const size_t n_blocks = pass->n_problems * pass->n_query_blocks;
    const size_t n_tasks = n_blocks * pass->n_ranges;
    uhn_status status = UHN_NO_MEMORY;
    pthread_mutex_init(&w->lock, NULL);
    w->scratches = calloc((size_t)n_threads, sizeof *w->scratches);
    if (w->purpose == SUMS) {
        w->forests = calloc(n_tasks, sizeof *w->forests);
        w->pending = calloc(n_blocks, sizeof *w->pending);
    }
    if (w->scratches && (w->purpose != SUMS || (w->forests && w->pending))) {
        for (size_t i = 0; w->pending && i < n_blocks; i++)
            atomic_init(&w->pending[i], pass->n_ranges);
        status = uhn_parallel_for(n_tasks, n_threads, pass->run, walk_task, w);
    }
    for (int i = 0; w->scratches && i < n_threads; i++) {
        free(w->scratches[i].memory);
        uhn_forest_free(&(uhn_forest){.spare = w->scratches[i].spare});
    }
    for (size_t i = 0; w->forests && i < n_tasks; i++) uhn_forest_free(&w->forests[i]);
    free(w->scratches);
    free(w->forests);
    free(w->pending);
    pthread_mutex_destroy(&w->lock);
    if (status != UHN_OK && status != UHN_STOPPED) status = find_unseen(pass, status);
    if (status != UHN_OK && pass->error && pass->error->status == UHN_OK)
        uhn_fail(pass->error, status, "%s", uhn_status_string(status));
    return status;
}

uhn_status uhn_pass_sums(uhn_pass *pass) {
    return run_walk(&(walk){.pass = pass, .purpose = SUMS});
}

uhn_status uhn_pass_candidates(uhn_pass *pass, uhn_candidates *lists) {
    return run_walk(&(walk){.pass = pass, .purpose = CANDIDATES, .lists = lists});
}

uhn_status uhn_pass_scores(uhn_pass *pass) {
    return run_walk(&(walk){.pass = pass, .purpose = SCORES});
}

uhn_status uhn_pass_weights(uhn_pass *pass, const double *references, const double *sums) {
    return run_walk(
        &(walk){.pass = pass, .purpose = WEIGHTS, .references = references, .totals = sums});
}

/* ---------------------------------------------------------------------------------- what is asked */

uhn_status uhn_pass_check(const uhn_memory *memory, uhn_list *list,
                          const uhn_equation *equation, const void *queries, size_t n_queries,
                          const uhn_run *run, uhn_error *error) {
    const uhn_row_info *similarity = uhn_similarity_info(equation->similarity);
    const uhn_row_info *separation = uhn_separation_info(equation->separation);
    size_t bytes;
    uhn_status status = uhn_equation_check(equation, error);
    if (status != UHN_OK) return status;
    if (list->n_rows == 0)
        return uhn_fail(error, UHN_EMPTY,
                        "the memory is empty; store patterns before asking it");
    if (!uhn_mul(n_queries, UHN_MAX(memory->n_features, memory->n_values), 8, &bytes))
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu queries are more than can be addressed",
                        n_queries);
    if ((list->missing || equation->missing) && equation->similarity == UHN_SIM_custom)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "a similarity of the caller's own is not defined where features are "
                        "missing; use a built-in one");
    if (list->prior && separation && !separation->has_prior)
        return uhn_fail(
            error, UHN_BAD_PARAMETER,
            "separation '%s' has no meaning for prior weights; use softmax, sparsemax, entmax "
            "or a sum",
            separation->name);
    status = uhn_check_rows(memory->dtype, queries, n_queries, memory->n_features, equation,
                            "queries", run, error);
    if (status != UHN_OK || !similarity) return status;
    const uhn_statistic statistic = uhn_similarity_plan_of(equation).statistic;
    if (statistic != UHN_STATISTIC_none) {
        status = uhn_list_scales(list, statistic, memory->dtype, memory->n_features, run);
        if (status != UHN_OK) return uhn_fail(error, status, "%s", uhn_status_string(status));
    }
    if (similarity->non_negative) return uhn_list_check(list, memory, equation, run, error);
    return UHN_OK;
}
