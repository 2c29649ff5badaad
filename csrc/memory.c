/*
 * memory.c - the growable list of immutable chunks.
 */
#define _DEFAULT_SOURCE /* madvise */

#include "memory.h"

#include <sys/mman.h>

enum {
    BORROW_BYTES = 1 << 16, /* later rows smaller than this are gathered rather than borrowed */
    MAX_GROWTH = 1 << 26,   /* bytes of spare room at most */
    POLL_ROWS = UHN_LOOK_ROWS, /* rows looked at between two questions whether to stop */
    HUGE_BYTES = 1 << 22       /* chunks of at least so many may lie in huge pages */
};

/* -------------------------------------------------------------------------------------- chunks -- */

static uhn_chunk *chunk_new(void) {
    uhn_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk) return NULL;
    if (pthread_mutex_init(&chunk->lock, NULL) != 0) {
        free(chunk);
        return NULL;
    }
    atomic_init(&chunk->references, 1);
    return chunk;
}

void uhn_chunk_release(uhn_chunk *chunk) {
    if (!chunk || atomic_fetch_sub(&chunk->references, 1) != 1) return;
    if (chunk->owned) {
        if (chunk->values != chunk->patterns) free((void *)chunk->values);
        free((void *)chunk->patterns);
    } else if (chunk->release) {
        chunk->release(chunk->owner);
    }
    free(chunk->seen);
    for (int i = 0; i < UHN_N_STATISTICS; i++) free(chunk->scales[i]);
    pthread_mutex_destroy(&chunk->lock);
    free(chunk);
}

static uhn_status chunk_scales(uhn_chunk *chunk, size_t n_rows, uhn_statistic statistic,
                               uhn_dtype dtype, size_t n_features, const uhn_run *run) {
    const uhn_kernels *kernels = uhn_kernels_for(dtype);
    const size_t size = uhn_dtype_size(dtype);
    uhn_status status = UHN_OK;
    pthread_mutex_lock(&chunk->lock);
    if (!chunk->scales[statistic]) {
        chunk->scales[statistic] = uhn_alloc(chunk->capacity, 1, size);
        if (!chunk->scales[statistic]) status = UHN_NO_MEMORY;
    }
    for (size_t r = chunk->n_scales[statistic]; status == UHN_OK && r < n_rows; r++) {
        if (r % POLL_ROWS == POLL_ROWS - 1 && uhn_run_stopped(run)) {
            status = UHN_STOPPED;
            break;
        }
        const double scale = uhn_row_scale(kernels, dtype, statistic,
                                           chunk->patterns + r * n_features * size, n_features);
        if (dtype == UHN_FLOAT32) ((float *)chunk->scales[statistic])[r] = (float)scale;
        else ((double *)chunk->scales[statistic])[r] = scale;
        chunk->n_scales[statistic] = r + 1;
    }
    pthread_mutex_unlock(&chunk->lock);
    return status;
}

/* --------------------------------------------------------------------------------------- lists -- */

uhn_list *uhn_list_new(size_t n_spans) {
    uhn_list *list = calloc(1, sizeof *list + n_spans * sizeof *list->spans);
    if (list) atomic_init(&list->references, 1);
    return list;
}

uhn_priors *uhn_priors_new(uhn_dtype dtype, size_t capacity) {
    uhn_priors *priors = calloc(1, sizeof *priors);
    if (!priors) return NULL;
    atomic_init(&priors->references, 1);
    priors->capacity = capacity;
    priors->numbers = uhn_alloc(capacity, 1, uhn_dtype_size(dtype));
    if (priors->numbers) return priors;
    free(priors);
    return NULL;
}

static void priors_release(uhn_priors *priors) {
    if (!priors || atomic_fetch_sub(&priors->references, 1) != 1) return;
    free(priors->numbers);
    free(priors);
}

void uhn_list_release(uhn_list *list) {
    if (!list || atomic_fetch_sub(&list->references, 1) != 1) return;
    for (size_t i = 0; i < list->n_spans; i++) uhn_chunk_release(list->spans[i].chunk);
    priors_release(list->priors);
    free(list);
}

void uhn_list_priors(const uhn_list *list, uhn_dtype dtype, size_t start, size_t n_rows,
                     char *out) {
    const size_t size = uhn_dtype_size(dtype);
    if (list->prior) memcpy(out, list->prior + start * size, n_rows * size);
    else
        for (size_t r = 0; r < n_rows; r++) uhn_put(dtype, out, r, 1);
}

/* The priors of an old list and of n_rows more: behind the old ones where there is room, else all of
 * them anew. False if out of memory. */
static bool extend_priors(uhn_list *list, const uhn_list *old, uhn_dtype dtype,
                          const void *prior, size_t n_rows) {
    const size_t size = uhn_dtype_size(dtype), n = old->n_rows;
    if (!old->prior && !prior) return true;
    uhn_priors *priors = old->priors;
    size_t at = priors ? (size_t)(old->prior - priors->numbers) / size + n : n, end = at;
    if (priors && n_rows <= priors->capacity - at &&
        atomic_compare_exchange_strong(&priors->n_rows, &end, at + n_rows)) {
        atomic_fetch_add(&priors->references, 1);
        list->prior = old->prior;
    } else {
        priors = uhn_priors_new(dtype, n + n_rows + (n ? n / 2 + 16 : 0));
        if (!priors) return false;
        atomic_init(&priors->n_rows, n + n_rows);
        uhn_list_priors(old, dtype, 0, n, priors->numbers);
        list->prior = priors->numbers;
        at = n;
    }
    list->priors = priors;
    if (prior) memcpy(priors->numbers + at * size, prior, n_rows * size);
    else
        for (size_t r = at; r < at + n_rows; r++) uhn_put(dtype, priors->numbers, r, 1);
    return true;
}

/* A list with one span more, or with more rows in the last span if chunk is NULL. */
static uhn_list *list_extend(const uhn_list *old, uhn_chunk *chunk, uhn_dtype dtype,
                             const uhn_rows *rows) {
    const size_t n_rows = rows->n_rows;
    uhn_list *list = uhn_list_new(old->n_spans + (chunk != NULL));
    if (!list || !extend_priors(list, old, dtype, rows->prior, n_rows)) {
        free(list);
        return NULL;
    }
    list->n_spans = old->n_spans;
    for (size_t i = 0; i < old->n_spans; i++) {
        list->spans[i] = old->spans[i];
        atomic_fetch_add(&old->spans[i].chunk->references, 1);
    }
    if (chunk)
        list->spans[list->n_spans++] =
            (uhn_span){.chunk = chunk, .first = old->n_rows, .n_rows = n_rows};
    else list->spans[list->n_spans - 1].n_rows += n_rows;
    list->n_rows = old->n_rows + n_rows;
    return list;
}

uhn_list *uhn_memory_list(const uhn_memory *memory) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&memory->lock;
    pthread_mutex_lock(lock);
    uhn_list *list = memory->list;
    atomic_fetch_add(&list->references, 1);
    pthread_mutex_unlock(lock);
    return list;
}

uhn_list *uhn_list_borrow(const void *patterns, const void *values, size_t n_rows) {
    uhn_list *list = uhn_list_new(1);
    uhn_chunk *chunk = list ? chunk_new() : NULL;
    if (!chunk) {
        free(list);
        return NULL;
    }
    chunk->patterns = patterns;
    chunk->values = values ? values : patterns;
    chunk->n_rows = chunk->capacity = n_rows;
    list->spans[0] = (uhn_span){.chunk = chunk, .n_rows = n_rows};
    list->n_spans = 1;
    list->n_rows = n_rows;
    return list;
}

uhn_status uhn_list_scales(uhn_list *list, uhn_statistic statistic, uhn_dtype dtype,
                           size_t n_features, const uhn_run *run) {
    for (size_t i = 0; i < list->n_spans; i++) {
        const uhn_span *span = &list->spans[i];
        const uhn_status status = chunk_scales(span->chunk, span->offset + span->n_rows,
                                               statistic, dtype, n_features, run);
        if (status != UHN_OK) return status;
    }
    return UHN_OK;
}

const uhn_span *uhn_list_span(const uhn_list *list, size_t row) {
    size_t low = 0, high = list->n_spans;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (list->spans[middle].first <= row) low = middle;
        else high = middle;
    }
    return &list->spans[low];
}

/* ------------------------------------------------------------------------------------- memories -- */

uhn_status uhn_memory_new(uhn_dtype dtype, size_t n_features, size_t n_values, size_t first_row,
                          uhn_memory **out) {
    if (dtype != UHN_FLOAT32 && dtype != UHN_FLOAT64) return UHN_BAD_PARAMETER;
    if (n_features < 1 || first_row > INT64_MAX / 2) return UHN_BAD_SHAPE;
    size_t bytes;
    /* A block of rows, and a row of doubles, must be addressable. */
    if (!uhn_mul(n_features, 4 * UHN_TILE, 8, &bytes) ||
        !uhn_mul(n_values, 4 * UHN_TILE, 8, &bytes))
        return UHN_BAD_SHAPE;
    uhn_memory *memory = calloc(1, sizeof *memory);
    uhn_list *list = uhn_list_new(0);
    if (!memory || !list) {
        free(memory);
        free(list);
        return UHN_NO_MEMORY;
    }
    memory->dtype = dtype;
    memory->n_features = n_features;
    memory->autoassociative = n_values == 0;
    memory->n_values = n_values ? n_values : n_features;
    memory->first_row = first_row;
    memory->list = list;
    pthread_mutex_init(&memory->lock, NULL);
    pthread_mutex_init(&memory->store_lock, NULL);
    *out = memory;
    return UHN_OK;
}

uhn_status uhn_memory_copy(const uhn_memory *memory, uhn_memory **out) {
    uhn_memory *copy;
    const uhn_status status = uhn_memory_new(memory->dtype, memory->n_features,
                                             memory->autoassociative ? 0 : memory->n_values,
                                             memory->first_row, &copy);
    if (status != UHN_OK) return status;
    uhn_list_release(copy->list);
    copy->list = uhn_memory_list(memory);
    *out = copy;
    return UHN_OK;
}

void uhn_memory_free(uhn_memory *memory) {
    if (!memory) return;
    uhn_list_release(memory->list);
    pthread_mutex_destroy(&memory->lock);
    pthread_mutex_destroy(&memory->store_lock);
    free(memory);
}

uhn_status uhn_prior_check(uhn_dtype dtype, const void *prior, size_t n_rows,
                           uhn_error *error) {
    for (size_t r = 0; prior && r < n_rows; r++) {
        const double p = dtype == UHN_FLOAT32 ? (double)((const float *)prior)[r]
                                              : ((const double *)prior)[r];
        if (!(p > 0 && isfinite(p)))
            return uhn_fail(error, UHN_BAD_DATA,
                            "prior[%zu] is %g; priors must be finite and > 0", r, p);
    }
    return UHN_OK;
}

/* A chunk that borrows the caller's rows. */
static uhn_chunk *borrow(const uhn_memory *memory, const uhn_rows *rows) {
    uhn_chunk *chunk = chunk_new();
    if (!chunk) return NULL;
    if (rows->unseen) {
        const size_t n_words = (rows->n_rows - 1) / UHN_LOOK_ROWS / 64 + 1;
        chunk->seen = calloc(n_words, sizeof *chunk->seen);
        if (!chunk->seen) {
            uhn_chunk_release(chunk);
            return NULL;
        }
    }
    chunk->patterns = rows->patterns;
    chunk->values = memory->autoassociative ? rows->patterns : rows->values;
    chunk->n_rows = chunk->capacity = rows->n_rows;
    chunk->missing = rows->missing;
    chunk->release = rows->release;
    chunk->owner = rows->owner;
    return chunk;
}

/* Rows for a chunk. A pass over many megabytes in pages of 4 KB waits for the page table. */
static void *rows_new(size_t n_rows, size_t n_columns, size_t size) {
    char *rows = uhn_alloc(n_rows, n_columns, size);
#ifdef MADV_HUGEPAGE
    const size_t bytes = n_rows * n_columns * size, page = 4096;
    if (rows && bytes >= HUGE_BYTES) {
        char *start = rows + (page - (uintptr_t)rows % page) % page;
        (void)madvise(start, (size_t)(rows + bytes - start) / page * page, MADV_HUGEPAGE);
    }
#endif
    return rows;
}

uhn_chunk *uhn_chunk_own(const uhn_memory *memory, size_t capacity) {
    const size_t size = uhn_dtype_size(memory->dtype);
    uhn_chunk *chunk = chunk_new();
    if (!chunk) return NULL;
    chunk->owned = true;
    chunk->capacity = capacity;
    chunk->patterns = rows_new(capacity, memory->n_features, size);
    chunk->values =
        memory->autoassociative ? chunk->patterns : rows_new(capacity, memory->n_values, size);
    if (!chunk->patterns || !chunk->values) {
        uhn_chunk_release(chunk);
        return NULL;
    }
    return chunk;
}

void uhn_chunk_append(const uhn_memory *memory, uhn_chunk *chunk, const void *patterns,
                      const void *values, size_t n_rows) {
    const size_t size = uhn_dtype_size(memory->dtype), at = chunk->n_rows;
    const size_t row = memory->n_features * size, value = memory->n_values * size;
    memcpy((char *)chunk->patterns + at * row, patterns, n_rows * row);
    if (!memory->autoassociative)
        memcpy((char *)chunk->values + at * value, values, n_rows * value);
    chunk->n_rows += n_rows;
}

/* Puts the rows into the last chunk's spare room and returns the new list; NULL if they do not fit
 * (then *status is UHN_OK) or memory ran out. */
static uhn_list *fill_spare(uhn_memory *memory, const uhn_list *old, const uhn_rows *rows,
                            uhn_status *status) {
    if (old->n_spans == 0) return NULL;
    const uhn_span *last = &old->spans[old->n_spans - 1];
    uhn_chunk *chunk = last->chunk;
    uhn_list *list = NULL;
    pthread_mutex_lock(&chunk->lock);
    /* A copy of this memory may have taken the room. */
    if (chunk->owned && chunk->n_rows == last->offset + last->n_rows &&
        rows->n_rows <= chunk->capacity - chunk->n_rows) {
        list = list_extend(old, NULL, memory->dtype, rows);
        if (list) uhn_chunk_append(memory, chunk, rows->patterns, rows->values, rows->n_rows);
        else *status = UHN_NO_MEMORY;
    }
    pthread_mutex_unlock(&chunk->lock);
    return list;
}

/* Looks at rows; where NaN is allowed, *missing says whether there is any. */
static uhn_status look_at_part(const uhn_memory *memory, const uhn_rows *rows, const void *data,
                               size_t n_columns, const char *what, bool *missing,
                               uhn_error *error) {
    const uhn_equation lenient = {.similarity = UHN_SIM_dot, .missing = true};
    uhn_status status = uhn_check_rows(memory->dtype, data, rows->n_rows, n_columns, NULL, what,
                                       rows->run, rows->missing ? NULL : error);
    *missing = status == UHN_BAD_DATA && rows->missing;
    if (*missing)
        status = uhn_check_rows(memory->dtype, data, rows->n_rows, n_columns, &lenient, what,
                                rows->run, error);
    return status;
}

uhn_status uhn_memory_look(const uhn_memory *memory, const uhn_rows *rows, bool *missing,
                           bool *missing_values, uhn_error *error) {
    uhn_status status = look_at_part(memory, rows, rows->patterns, memory->n_features,
                                     "patterns", missing, error);
    *missing_values = *missing;
    if (status == UHN_OK && !memory->autoassociative)
        status = look_at_part(memory, rows, rows->values, memory->n_values, "values",
                              missing_values, error);
    *missing |= *missing_values;
    return status;
}

uhn_status uhn_memory_fits(const uhn_memory *memory, const uhn_rows *rows, uhn_error *error) {
    const size_t size = uhn_dtype_size(memory->dtype);
    size_t bytes;
    if (!rows->patterns && rows->n_rows)
        return uhn_fail(error, UHN_BAD_SHAPE, "patterns are missing");
    if (memory->autoassociative ? rows->values != NULL : !rows->values && rows->n_rows)
        return uhn_fail(error, UHN_BAD_SHAPE,
                        memory->autoassociative
                            ? "values were given to an autoassociative memory, whose patterns "
                              "are its values"
                            : "values are missing: this memory is heteroassociative");
    if (!uhn_mul(rows->n_rows, memory->n_features, size, &bytes) ||
        !uhn_mul(rows->n_rows, memory->n_values, size, &bytes) ||
        rows->n_rows > INT64_MAX / 4 - uhn_memory_n_patterns(memory))
        return uhn_fail(error, UHN_BAD_SHAPE, "%zu rows are more than can be addressed",
                        rows->n_rows);
    return UHN_OK;
}

uhn_list *uhn_memory_publish(uhn_memory *memory, uhn_list *list) {
    pthread_mutex_lock(&memory->lock);
    uhn_list *old = memory->list;
    list->missing |= old->missing;
    list->missing_values |= old->missing_values;
    memory->list = list;
    pthread_mutex_unlock(&memory->lock);
    return old;
}

uhn_status uhn_memory_store(uhn_memory *memory, const uhn_rows *rows, uhn_error *error) {
    const size_t size = uhn_dtype_size(memory->dtype);
    uhn_status status = uhn_memory_fits(memory, rows, error);
    if (status != UHN_OK) return status;
    if (rows->n_rows == 0) {
        if (rows->borrow && rows->release) rows->release(rows->owner);
        return UHN_OK;
    }
    status = uhn_prior_check(memory->dtype, rows->prior, rows->n_rows, error);
    bool missing = rows->missing, missing_values = rows->missing;
    if (status == UHN_OK && !(rows->unseen && rows->borrow))
        status = uhn_memory_look(memory, rows, &missing, &missing_values, error);
    if (status != UHN_OK) return status;

    pthread_mutex_lock(&memory->store_lock);
    const uhn_list *old = memory->list; /* changes under this lock alone */
    const bool lend =
        rows->borrow &&
        (old->n_rows == 0 || rows->n_rows * memory->n_features * size >= BORROW_BYTES);
    /* What is copied is looked at now. */
    if (rows->unseen && rows->borrow && !lend &&
        (status = uhn_memory_look(memory, rows, &missing, &missing_values, error))) {
        pthread_mutex_unlock(&memory->store_lock);
        return status;
    }
    uhn_list *list = lend ? NULL : fill_spare(memory, old, rows, &status);
    if (!list && status == UHN_OK) {
        uhn_chunk *chunk;
        if (lend) {
            chunk = borrow(memory, rows);
        } else {
            /* Half as much again as there is, so that row after row costs one copy each; the first
             * rows take what they need. */
            const size_t spare = UHN_MIN(old->n_rows / 2 + (old->n_rows ? 16 : 0),
                                         MAX_GROWTH / (memory->n_features * size) + 1);
            chunk = uhn_chunk_own(memory, UHN_MAX(rows->n_rows, spare));
            if (chunk)
                uhn_chunk_append(memory, chunk, rows->patterns, rows->values, rows->n_rows);
        }
        list = chunk ? list_extend(old, chunk, memory->dtype, rows) : NULL;
        if (!list) {
            if (chunk) chunk->release = NULL; /* nothing was borrowed after all */
            uhn_chunk_release(chunk);
            status = UHN_NO_MEMORY;
        }
    }
    if (list) {
        list->missing |= missing;
        list->missing_values |= missing_values;
    }
    uhn_list *dropped = list ? uhn_memory_publish(memory, list) : NULL;
    pthread_mutex_unlock(&memory->store_lock);
    uhn_list_release(dropped);
    if (status != UHN_OK) return uhn_no_memory(error);
    if (rows->borrow && !lend && rows->release) rows->release(rows->owner);
    return UHN_OK;
}

uhn_dtype uhn_memory_dtype(const uhn_memory *memory) { return memory->dtype; }
size_t uhn_memory_n_features(const uhn_memory *memory) { return memory->n_features; }
size_t uhn_memory_n_values(const uhn_memory *memory) { return memory->n_values; }
bool uhn_memory_is_autoassociative(const uhn_memory *memory) { return memory->autoassociative; }
size_t uhn_memory_first_row(const uhn_memory *memory) { return memory->first_row; }

size_t uhn_memory_n_patterns(const uhn_memory *memory) {
    uhn_list *list = uhn_memory_list(memory);
    const size_t n = list->n_rows;
    uhn_list_release(list);
    return n;
}

bool uhn_memory_has_prior(const uhn_memory *memory) {
    uhn_list *list = uhn_memory_list(memory);
    const bool has = list->prior != NULL;
    uhn_list_release(list);
    return has;
}

bool uhn_memory_has_missing(const uhn_memory *memory) {
    uhn_list *list = uhn_memory_list(memory);
    const bool has = list->missing;
    uhn_list_release(list);
    return has;
}

size_t uhn_memory_bytes(const uhn_memory *memory, size_t *owned) {
    const size_t size = uhn_dtype_size(memory->dtype);
    const size_t row =
        (memory->n_features + (memory->autoassociative ? 0 : memory->n_values)) * size;
    uhn_list *list = uhn_memory_list(memory);
    size_t ours = list->prior ? list->n_rows * size : 0, total = ours;
    for (size_t i = 0; i < list->n_spans; i++) {
        total += list->spans[i].n_rows * row;
        ours += list->spans[i].chunk->owned ? list->spans[i].n_rows * row : 0;
    }
    uhn_list_release(list);
    if (owned) *owned = ours;
    return total;
}

uhn_status uhn_memory_read(const uhn_memory *memory, size_t start, size_t n_rows,
                           void *patterns, void *values, void *prior) {
    const size_t size = uhn_dtype_size(memory->dtype);
    const size_t row = memory->n_features * size, value = memory->n_values * size;
    uhn_list *list = uhn_memory_list(memory);
    const bool fits = start <= list->n_rows && n_rows <= list->n_rows - start;
    for (size_t done = 0; fits && done < n_rows;) {
        const uhn_span *span = uhn_list_span(list, start + done);
        const size_t at = uhn_span_at(span, start + done);
        const size_t n = UHN_MIN(span->offset + span->n_rows - at, n_rows - done);
        const uhn_chunk *chunk = span->chunk;
        if (patterns)
            memcpy((char *)patterns + done * row, chunk->patterns + at * row, n * row);
        if (values)
            memcpy((char *)values + done * value, chunk->values + at * value, n * value);
        done += n;
    }
    if (fits && prior) uhn_list_priors(list, memory->dtype, start, n_rows, prior);
    uhn_list_release(list);
    return fits ? UHN_OK : UHN_BAD_SHAPE;
}

const void *uhn_memory_view(const uhn_memory *memory, size_t start, size_t n_rows) {
    const void *view = NULL;
    uhn_list *list = uhn_memory_list(memory);
    if (start < list->n_rows && n_rows <= list->n_rows - start) {
        const uhn_span *span = uhn_list_span(list, start);
        if (start + n_rows <= span->first + span->n_rows)
            view = span->chunk->patterns + uhn_span_at(span, start) * memory->n_features *
                                               uhn_dtype_size(memory->dtype);
    }
    uhn_list_release(list);
    return view;
}

static uhn_status zero_sum(const char *what, size_t row, const uhn_row_info *info,
                           uhn_error *error) {
    return uhn_fail(
        error, UHN_BAD_DATA,
        "%s[%zu] sums to 0, and similarity '%s' compares rows divided by their sums; remove "
        "the row or pass eps > 0",
        what, row, info->name);
}

static uhn_status check_rows(uhn_dtype dtype, const void *rows, size_t n_rows, size_t n_columns,
                             const uhn_equation *equation, const char *what, size_t first,
                             const uhn_run *run, uhn_error *error) {
    const uhn_kernels *kernels = uhn_kernels_for(dtype);
    const size_t stride = n_columns * uhn_dtype_size(dtype);
    const uhn_row_info *info = equation ? uhn_similarity_info(equation->similarity) : NULL;
    const bool negative = info && info->non_negative, missing = equation && equation->missing;
    /* A distribution needs something to divide by; a dot product of nothing is 0. */
    const bool sums = negative && info->is_distance && equation->eps == 0;
    for (size_t r = 0; r < n_rows; r++) {
        const char *row = (const char *)rows + r * stride;
        if (r % POLL_ROWS == POLL_ROWS - 1 && uhn_run_stopped(run))
            return uhn_fail(error, UHN_STOPPED, "%s", uhn_status_string(UHN_STOPPED));
        size_t j = kernels->find_bad(row, n_columns, negative);
        while (missing && j < n_columns && isnan(uhn_get(dtype, row, j))) {
            j++;
            j += kernels->find_bad(row + j * uhn_dtype_size(dtype), n_columns - j, negative);
        }
        if (j < n_columns) {
            const double x = uhn_get(dtype, row, j);
            if (isfinite(x))
                return uhn_fail(
                    error, UHN_BAD_DATA,
                    "%s[%zu, %zu] is %g; similarity '%s' is defined for values >= 0", what,
                    first + r, j, x, info->name);
            return uhn_fail(error, UHN_BAD_DATA,
                            "%s[%zu, %zu] is %s; replace or remove values that are not finite",
                            what, first + r, j, isnan(x) ? "NaN" : "infinite");
        }
        if (sums && kernels->row_sum(row, n_columns) == 0)
            return uhn_fail(
                error, UHN_BAD_DATA,
                "%s[%zu] sums to 0, and similarity '%s' compares rows divided by their "
                "sums; remove the row or pass eps > 0",
                what, first + r, info->name);
    }
    return UHN_OK;
}

uhn_status uhn_check_rows(uhn_dtype dtype, const void *rows, size_t n_rows, size_t n_columns,
                          const uhn_equation *equation, const char *what, const uhn_run *run,
                          uhn_error *error) {
    return check_rows(dtype, rows, n_rows, n_columns, equation, what, 0, run, error);
}

/* Looks at rows [first, last) of a chunk, the first of which has number `number` in the list. */
static uhn_status look_at_rows(const uhn_chunk *chunk, const uhn_memory *memory, size_t first,
                               size_t last, size_t number, const uhn_run *run,
                               uhn_error *error) {
    const size_t size = uhn_dtype_size(memory->dtype);
    const size_t row = memory->n_features * size, value = memory->n_values * size;
    const uhn_equation lenient = {.similarity = UHN_SIM_dot, .missing = chunk->missing};
    uhn_status status =
        check_rows(memory->dtype, chunk->patterns + first * row, last - first,
                   memory->n_features, &lenient, "patterns", number, run, error);
    if (status == UHN_OK && !memory->autoassociative)
        status = check_rows(memory->dtype, chunk->values + first * value, last - first,
                            memory->n_values, &lenient, "values", number, run, error);
    return status;
}

/* Looks at the rows [first, last) of a span's chunk that were not looked at yet, whole blocks at a
 * time. No lock is held while a disk is read: two threads may look at the same rows, and find the
 * same. A block in which only rows are bad that the span has no part in, because
 * they were removed, is looked at again at every call. */
static uhn_status look_at_span(const uhn_span *span, const uhn_memory *memory, size_t first,
                               size_t last, const uhn_run *run, uhn_error *error) {
    uhn_chunk *chunk = span->chunk;
    for (size_t block = first / UHN_LOOK_ROWS; block * UHN_LOOK_ROWS < last; block++) {
        const uint64_t bit = (uint64_t)1 << (block % 64);
        if (__atomic_load_n(&chunk->seen[block / 64], __ATOMIC_RELAXED) & bit) continue;
        const size_t r = block * UHN_LOOK_ROWS;
        const size_t end = r + UHN_MIN(chunk->n_rows - r, (size_t)UHN_LOOK_ROWS);
        uhn_status status = look_at_rows(chunk, memory, r, end, 0, run, NULL);
        if (status == UHN_OK) {
            __atomic_fetch_or(&chunk->seen[block / 64], bit, __ATOMIC_RELAXED);
            continue;
        }
        if (status != UHN_BAD_DATA)
            return uhn_fail(error, status, "%s", uhn_status_string(status));
        const size_t low = UHN_MAX(r, span->offset);
        const size_t high = UHN_MIN(end, span->offset + span->n_rows);
        status = look_at_rows(chunk, memory, low, high, low - span->offset + span->first, run,
                              error);
        if (status != UHN_OK) return status;
    }
    return UHN_OK;
}

uhn_status uhn_list_look(uhn_list *list, const uhn_memory *memory, size_t start, size_t stop,
                         const uhn_run *run, uhn_error *error) {
    uhn_status status = UHN_OK;
    const uhn_span *end = list->spans + list->n_spans;
    for (const uhn_span *span = uhn_list_span(list, start);
         span < end && span->first < stop && status == UHN_OK; span++) {
        uhn_chunk *chunk = span->chunk;
        const size_t first = UHN_MAX(start, span->first);
        const size_t last = UHN_MIN(stop, span->first + span->n_rows);
        if (!chunk->seen || first >= last) continue;
        status = look_at_span(span, memory, uhn_span_at(span, first), uhn_span_at(span, last),
                              run, error);
    }
    return status;
}

uhn_status uhn_list_check(uhn_list *list, const uhn_memory *memory,
                          const uhn_equation *equation, const uhn_run *run, uhn_error *error) {
    const size_t row = memory->n_features * uhn_dtype_size(memory->dtype);
    uhn_equation domain = *equation;
    domain.missing = list->missing;
    domain.eps = 1; /* sums are looked at below, without adding them up again */
    const uhn_row_info *info = uhn_similarity_info(equation->similarity);
    uhn_status status = UHN_OK;
    for (size_t i = 0; i < list->n_spans && status == UHN_OK; i++) {
        const uhn_span *span = &list->spans[i];
        uhn_chunk *chunk = span->chunk;
        pthread_mutex_lock(&chunk->lock);
        const size_t end = span->offset + span->n_rows;
        const size_t known = UHN_MIN(chunk->n_non_negative, end);
        /* Rows before the span, which may have been removed, are looked at with it. If they are what
         * is wrong, the span's own rows are looked at alone, at every call. */
        status = check_rows(memory->dtype, chunk->patterns + known * row, end - known,
                            memory->n_features, &domain, "patterns", 0, run, NULL);
        if (status == UHN_OK) {
            chunk->n_non_negative = UHN_MAX(chunk->n_non_negative, end);
        } else if (status == UHN_BAD_DATA) {
            const size_t own = UHN_MAX(known, span->offset);
            status = check_rows(memory->dtype, chunk->patterns + own * row, end - own,
                                memory->n_features, &domain, "patterns",
                                own - span->offset + span->first, run, error);
        }
        pthread_mutex_unlock(&chunk->lock);
        if (status == UHN_STOPPED) uhn_fail(error, status, "%s", uhn_status_string(status));
        const char *sums = chunk->scales[UHN_STATISTIC_sum];
        for (size_t r = 0; status == UHN_OK && info->is_distance && equation->eps == 0; r++) {
            if (r == span->n_rows) break;
            if (uhn_get(memory->dtype, sums, span->offset + r) == 0)
                status = zero_sum("patterns", span->first + r, info, error);
        }
    }
    return status;
}
