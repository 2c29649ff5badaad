/*
 * edit.c - rows taken out of a memory, exchanged, and given other priors (layer 3).
 *
 * May include: memory.h.
 *
 * An edit makes a new list of spans that leave rows out or have a row of another chunk in their place,
 * and publishes it as a store does. Rows themselves are not moved, so that an edit costs as much as the
 * list is long, and readers of the old list keep what they read.
 *
 * Two things would get out of hand, and `tidy` copies rows into a chunk of their own where they do:
 * spans so short that every tile lies across several, and chunks kept for a few rows of theirs. After an
 * edit a memory of n rows has at most n / SPAN_ROWS + 16 spans, and its chunks have room for at most
 * 2 n + (n / 2 + 16 of spare) rows + SLACK_BYTES. Both are paid for: a copied chunk has lost more rows
 * than are copied, and between two joinings of short spans lie at least 15 edits. Rows that were
 * borrowed unseen, which is to say files that are mapped, stay where they are: what nobody reads of them
 * costs nothing.
 */
#include "memory.h"

#include <stdlib.h>

enum {
    SPAN_ROWS = 4096,      /* rows that a span has on average at least */
    SHORT_ROWS = 8192,     /* shorter spans are joined with short neighbours */
    SLACK_BYTES = 1 << 16, /* room that is not worth a copy */
};

/* ------------------------------------------------------------------------------- lists of spans -- */

static void push(uhn_list *list, uhn_chunk *chunk, size_t offset, size_t n_rows) {
    if (n_rows == 0) return;
    uhn_span *last = list->n_spans ? &list->spans[list->n_spans - 1] : NULL;
    if (last && last->chunk == chunk && last->offset + last->n_rows == offset) {
        last->n_rows += n_rows;
    } else {
        atomic_fetch_add(&chunk->references, 1);
        list->spans[list->n_spans++] = (uhn_span){.chunk = chunk,
                                                  .offset = offset,
                                                  .first = list->n_rows,
                                                  .n_rows = n_rows};
    }
    list->n_rows += n_rows;
}

/* The old list without `rows` (ascending) or, if there is a fresh chunk, with its row i in the place of
 * rows[i]. No priors yet. */
static uhn_list *rewrite(const uhn_list *old, const size_t *rows, size_t n, uhn_chunk *fresh) {
    size_t n_runs = 0;
    for (size_t i = 0; i < n; i++) n_runs += i == 0 || rows[i] != rows[i - 1] + 1;
    uhn_list *list = uhn_list_new(old->n_spans + (fresh ? 2 : 1) * n_runs);
    for (size_t s = 0, i = 0; list && s < old->n_spans; s++) {
        const uhn_span *span = &old->spans[s];
        size_t done = 0;
        for (; i < n && rows[i] < span->first + span->n_rows; i++) {
            const size_t r = rows[i] - span->first;
            push(list, span->chunk, span->offset + done, r - done);
            if (fresh) push(list, fresh, i, 1);
            done = r + 1;
        }
        push(list, span->chunk, span->offset + done, span->n_rows - done);
    }
    return list;
}

/* ---------------------------------------------------------------------------------------- tidying -- */

/* Rows that a list has in a chunk, and room that the chunk has, but for spare room that is as it should
 * be. */
typedef struct tally {
    const uhn_chunk *chunk;
    size_t n_rows, room;
} tally;

static int by_chunk(const void *a_, const void *b_) {
    const uintptr_t a = (uintptr_t)((const tally *)a_)->chunk;
    const uintptr_t b = (uintptr_t)((const tally *)b_)->chunk;
    return a < b ? -1 : a > b;
}

/* One tally a chunk, in the order of their addresses: *n of them; NULL if out of memory. */
static tally *count(const uhn_list *list, size_t *n) {
    tally *tallies = uhn_alloc(list->n_spans, 1, sizeof *tallies);
    if (!tallies) return NULL;
    for (size_t s = 0; s < list->n_spans; s++) {
        const uhn_span *span = &list->spans[s];
        size_t spare = 0;
        if (s + 1 == list->n_spans && span->chunk->owned)
            spare = UHN_MIN(span->chunk->capacity - span->offset - span->n_rows,
                            list->n_rows / 2 + 16);
        tallies[s] = (tally){span->chunk, span->n_rows, span->chunk->capacity - spare};
    }
    qsort(tallies, list->n_spans, sizeof *tallies, by_chunk);
    *n = 0;
    for (size_t s = 0; s < list->n_spans; s++) {
        tally *last = *n ? &tallies[*n - 1] : NULL;
        if (last && last->chunk == tallies[s].chunk) {
            last->n_rows += tallies[s].n_rows;
            last->room = UHN_MIN(last->room, tallies[s].room);
        } else {
            tallies[(*n)++] = tallies[s];
        }
    }
    return tallies;
}

/* Whether a span's rows may be copied: not those of a mapped file. */
static bool movable(const uhn_chunk *chunk) { return !chunk->seen; }

static bool is_short(const uhn_list *list, size_t s) {
    return s < list->n_spans && movable(list->spans[s].chunk) &&
           list->spans[s].n_rows < SHORT_ROWS;
}

/* The list itself, or one in its place whose short spans are joined and whose sparse chunks are left.
 * Where there is no memory for that the list stays as it is, as it is right. */
static uhn_list *tidy(const uhn_memory *memory, uhn_list *list) {
    const size_t size = uhn_dtype_size(memory->dtype);
    const size_t row = memory->n_features * size, value = memory->n_values * size;
    size_t n_tallies = 0, n_rows = 0, n_spans = 0, room = 0, n_moved = 0;
    tally *tallies = list->n_spans ? count(list, &n_tallies) : NULL;
    bool *moves = list->n_spans ? calloc(list->n_spans, sizeof *moves) : NULL;
    uhn_list *tidied = NULL;
    uhn_chunk *fresh = NULL;
    if (!tallies || !moves) goto done;
    for (size_t i = 0; i < n_tallies; i++) {
        if (!movable(tallies[i].chunk)) continue;
        n_rows += tallies[i].n_rows;
        room += tallies[i].room;
    }
    for (size_t s = 0; s < list->n_spans; s++) n_spans += movable(list->spans[s].chunk);
    const bool crowded = n_spans > n_rows / SPAN_ROWS + 16;
    const bool sparse = room > 2 * n_rows + SLACK_BYTES / row;
    for (size_t s = 0; (crowded || sparse) && s < list->n_spans; s++) {
        const uhn_span *span = &list->spans[s];
        const tally *t = bsearch(&(tally){.chunk = span->chunk}, tallies, n_tallies,
                                 sizeof *tallies, by_chunk);
        moves[s] = (sparse && movable(span->chunk) && 2 * t->n_rows < t->room) ||
                   (crowded && is_short(list, s) &&
                    ((s && is_short(list, s - 1)) || is_short(list, s + 1)));
        n_moved += moves[s] ? span->n_rows : 0;
    }
    if (n_moved == 0) goto done;
    fresh = uhn_chunk_own(memory, n_moved);
    tidied = fresh ? uhn_list_new(list->n_spans) : NULL;
    for (size_t s = 0; tidied && s < list->n_spans; s++) {
        const uhn_span *span = &list->spans[s];
        if (moves[s]) {
            push(tidied, fresh, fresh->n_rows, span->n_rows);
            uhn_chunk_append(memory, fresh, span->chunk->patterns + span->offset * row,
                             span->chunk->values + span->offset * value, span->n_rows);
        } else {
            push(tidied, span->chunk, span->offset, span->n_rows);
        }
    }
done:
    uhn_chunk_release(fresh);
    free(tallies);
    free(moves);
    if (!tidied) return list;
    uhn_list_release(list);
    return tidied;
}

size_t uhn_memory_held(const uhn_memory *memory) {
    const size_t size = uhn_dtype_size(memory->dtype);
    const size_t row =
        (memory->n_features + (memory->autoassociative ? 0 : memory->n_values)) * size;
    uhn_list *list = uhn_memory_list(memory);
    size_t n = 0, bytes = list->priors ? list->priors->capacity * size : 0;
    tally *tallies = list->n_spans ? count(list, &n) : NULL;
    for (size_t i = 0; i < n; i++)
        bytes += tallies[i].chunk->owned ? tallies[i].chunk->capacity * row : 0;
    free(tallies);
    uhn_list_release(list);
    return bytes;
}

/* ----------------------------------------------------------------------------------------- rows -- */

/* Row numbers in ascending order, and what each stood at in the caller's. */
typedef struct place {
    size_t row, index;
} place;

static int by_row(const void *a_, const void *b_) {
    const place *a = a_, *b = b_;
    return a->row != b->row ? (a->row < b->row ? -1 : 1) : a->index < b->index ? -1 : 1;
}

/* The places of `rows` and, behind them, their numbers alone; checked. To be freed. */
static uhn_status sort_rows(const size_t *rows, size_t n, size_t n_rows, place **places,
                            size_t **sorted, uhn_error *error) {
    place *p = uhn_alloc(n, 1, sizeof *p + sizeof **sorted);
    if (!p) return uhn_no_memory(error);
    size_t *numbers = (size_t *)(p + n);
    bool ascending = true;
    uhn_status status = UHN_OK;
    for (size_t i = 0; i < n && status == UHN_OK; i++) {
        p[i] = (place){rows[i], i};
        ascending &= i == 0 || rows[i - 1] < rows[i];
        if (rows[i] >= n_rows)
            status = uhn_fail(error, UHN_BAD_SHAPE,
                              "rows[%zu] is %zu, but the memory holds %zu patterns", i, rows[i],
                              n_rows);
    }
    if (status == UHN_OK && !ascending) qsort(p, n, sizeof *p, by_row);
    for (size_t i = 0; i < n && status == UHN_OK; i++) {
        numbers[i] = p[i].row;
        if (i && p[i].row == p[i - 1].row)
            status = uhn_fail(error, UHN_BAD_SHAPE,
                              "rows[%zu] and rows[%zu] are both %zu; name each row once",
                              p[i - 1].index, p[i].index, p[i].row);
    }
    if (status != UHN_OK) {
        free(p);
        return status;
    }
    *places = p;
    *sorted = numbers;
    return UHN_OK;
}

/* Publishes a list (NULL: there was no memory for one) and lets store_lock go. */
static uhn_status publish(uhn_memory *memory, uhn_list *list, uhn_status status,
                          uhn_error *error) {
    uhn_list *dropped = list ? uhn_memory_publish(memory, list) : NULL;
    pthread_mutex_unlock(&memory->store_lock);
    uhn_list_release(dropped);
    return list || status != UHN_OK ? status : uhn_no_memory(error);
}

/* The old priors without `rows` (ascending); false if out of memory. */
static bool drop_priors(uhn_list *list, const uhn_list *old, uhn_dtype dtype,
                        const size_t *rows, size_t n) {
    const size_t size = uhn_dtype_size(dtype);
    if (!old->prior || list->n_rows == 0) return true;
    if (rows[n - 1] == n - 1) {
        /* The oldest leave: the others stay where they are. */
        atomic_fetch_add(&old->priors->references, 1);
        list->priors = old->priors;
        list->prior = old->prior + n * size;
        return true;
    }
    list->priors = uhn_priors_new(dtype, list->n_rows);
    if (!list->priors) return false;
    atomic_init(&list->priors->n_rows, list->n_rows);
    list->prior = list->priors->numbers;
    char *to = list->priors->numbers;
    for (size_t i = 0, row = 0; i <= n; i++) {
        const size_t end = i < n ? rows[i] : old->n_rows;
        memcpy(to, old->prior + row * size, (end - row) * size);
        to += (end - row) * size;
        row = end + 1;
    }
    return true;
}

uhn_status uhn_memory_remove(uhn_memory *memory, const size_t *rows, size_t n,
                             uhn_error *error) {
    place *places = NULL;
    size_t *sorted = NULL;
    uhn_list *list = NULL;
    if (n == 0) return UHN_OK;
    pthread_mutex_lock(&memory->store_lock);
    const uhn_list *old = memory->list;
    const uhn_status status = sort_rows(rows, n, old->n_rows, &places, &sorted, error);
    if (status == UHN_OK) list = rewrite(old, sorted, n, NULL);
    if (list) list = tidy(memory, list);
    if (list && !drop_priors(list, old, memory->dtype, sorted, n)) {
        uhn_list_release(list);
        list = NULL;
    }
    free(places);
    return publish(memory, list, status, error);
}

/* Priors of the whole list, where those at `places` are the caller's and the others as they were. */
static bool put_priors(uhn_list *list, const uhn_list *old, uhn_dtype dtype,
                       const place *places, size_t n, const void *prior) {
    const size_t size = uhn_dtype_size(dtype);
    if (list->n_rows == 0 || (!old->prior && !prior)) return true;
    if (!prior) {
        atomic_fetch_add(&old->priors->references, 1);
        list->priors = old->priors;
        list->prior = old->prior;
        return true;
    }
    list->priors = uhn_priors_new(dtype, list->n_rows);
    if (!list->priors) return false;
    atomic_init(&list->priors->n_rows, list->n_rows);
    list->prior = list->priors->numbers;
    uhn_list_priors(old, dtype, 0, list->n_rows, list->priors->numbers);
    for (size_t i = 0; i < n; i++)
        memcpy(list->priors->numbers + places[i].row * size,
               (const char *)prior + places[i].index * size, size);
    return true;
}

uhn_status uhn_memory_replace(uhn_memory *memory, const size_t *rows, const uhn_rows *with,
                              uhn_error *error) {
    const size_t size = uhn_dtype_size(memory->dtype), n = with->n_rows;
    const size_t row = memory->n_features * size, value = memory->n_values * size;
    place *places = NULL;
    size_t *sorted = NULL;
    uhn_list *list = NULL;
    uhn_chunk *fresh = NULL;
    uhn_status status = uhn_memory_fits(memory, with, error);
    if (status == UHN_OK) status = uhn_prior_check(memory->dtype, with->prior, n, error);
    bool missing = false, missing_values = false;
    if (status == UHN_OK && n)
        status = uhn_memory_look(memory, with, &missing, &missing_values, error);
    if (status != UHN_OK) return status;
    if (n) {
        pthread_mutex_lock(&memory->store_lock);
        const uhn_list *old = memory->list;
        status = sort_rows(rows, n, old->n_rows, &places, &sorted, error);
        if (status == UHN_OK) fresh = uhn_chunk_own(memory, n);
        for (size_t i = 0; fresh && i < n; i++)
            uhn_chunk_append(memory, fresh,
                             (const char *)with->patterns + places[i].index * row,
                             memory->autoassociative
                                 ? NULL
                                 : (const char *)with->values + places[i].index * value,
                             1);
        if (fresh) list = rewrite(old, sorted, n, fresh);
        uhn_chunk_release(fresh);
        if (list) list = tidy(memory, list);
        if (list && !put_priors(list, old, memory->dtype, places, n, with->prior)) {
            uhn_list_release(list);
            list = NULL;
        }
        if (list) {
            list->missing |= missing;
            list->missing_values |= missing_values;
        }
        free(places);
        status = publish(memory, list, status, error);
    }
    if (status == UHN_OK && with->borrow && with->release) with->release(with->owner);
    return status;
}

uhn_status uhn_memory_set_prior(uhn_memory *memory, const size_t *rows, size_t n,
                                const void *prior, uhn_error *error) {
    place *places = NULL;
    size_t *sorted = NULL;
    uhn_list *list = NULL;
    uhn_status status = uhn_prior_check(memory->dtype, prior, n, error);
    if (status != UHN_OK) return status;
    pthread_mutex_lock(&memory->store_lock);
    const uhn_list *old = memory->list;
    if (rows) {
        status = sort_rows(rows, n, old->n_rows, &places, &sorted, error);
    } else if (n != old->n_rows) {
        status =
            uhn_fail(error, UHN_BAD_SHAPE,
                     "there are %zu priors, but the memory holds %zu patterns", n, old->n_rows);
    }
    if (status == UHN_OK) list = rewrite(old, NULL, 0, NULL);
    bool done = list != NULL;
    if (list && rows) {
        done = n == 0 ? put_priors(list, old, memory->dtype, NULL, 0, NULL)
                      : put_priors(list, old, memory->dtype, places, n, prior);
    } else if (list && n) {
        list->priors = uhn_priors_new(memory->dtype, n);
        done = list->priors != NULL;
        if (done) {
            atomic_init(&list->priors->n_rows, n);
            memcpy(list->priors->numbers, prior, n * uhn_dtype_size(memory->dtype));
            list->prior = list->priors->numbers;
        }
    }
    if (list && !done) {
        uhn_list_release(list);
        list = NULL;
    }
    free(places);
    return publish(memory, list, status, error);
}
