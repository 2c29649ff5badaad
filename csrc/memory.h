/*
 * memory.h - chunks of patterns and values behind one pointer (layer 3).
 *
 * May include: similarity.h, cpu.h.
 *
 * A memory points at an immutable list of spans; a span is some consecutive rows of a chunk. Storing
 * and editing make a new list and swap the pointer, so that a reader who holds the old one is never
 * disturbed. Rows of a chunk never change or move; small stores fill the spare room of the last chunk,
 * which no list published so far can see. Priors belong to the list, not to the chunks, so that they
 * can change while the rows stay where they are.
 */
#ifndef UHN_MEMORY_H
#define UHN_MEMORY_H

#include "cpu.h"
#include "similarity.h"

#include <pthread.h>
#include <stdatomic.h>

enum { UHN_LOOK_ROWS = 256 }; /* rows that are looked at together */

typedef struct uhn_chunk {
    atomic_size_t references;
    const char *patterns, *values; /* the same if autoassociative */
    size_t n_rows, capacity;       /* n_rows grows under the lock, in owned chunks alone */
    bool owned;
    void (*release)(void *owner);
    void *owner;
    pthread_mutex_t lock;
    char *scales[UHN_N_STATISTICS]; /* row statistics, made when first asked for */
    size_t n_scales[UHN_N_STATISTICS];
    size_t n_non_negative; /* so many first rows are known to hold nothing below 0 */
    uint64_t *seen; /* a bit for every UHN_LOOK_ROWS rows that were looked at; NULL: all were */
    bool missing;   /* NaN is allowed where rows are looked at */
} uhn_chunk;

typedef struct uhn_span {
    uhn_chunk *chunk;
    size_t offset;        /* its first row in the chunk */
    size_t first, n_rows; /* rows before this span in the list, rows of it */
} uhn_span;

/* One number a row. Who claims the room behind `n_rows` first may write there; what was written never
 * changes. */
typedef struct uhn_priors {
    atomic_size_t references, n_rows;
    size_t capacity;
    char *numbers;
} uhn_priors;

typedef struct uhn_list {
    atomic_size_t references;
    size_t n_spans, n_rows;
    bool missing, missing_values; /* a row, a value may hold NaN */
    uhn_priors *priors;           /* keeps `prior` alive */
    const char *prior;            /* of the first row and those after it; NULL: all are 1 */
    uhn_span spans[];
} uhn_list;

struct uhn_memory {
    uhn_dtype dtype;
    size_t n_features, n_values;
    bool autoassociative;
    size_t first_row;
    pthread_mutex_t lock;       /* of `list`, held for the swap of a pointer */
    pthread_mutex_t store_lock; /* puts stores in order */
    uhn_list *list;
};

/* The rows as they are now, to be given back with uhn_list_release. */
uhn_list *uhn_memory_list(const uhn_memory *memory);
void uhn_list_release(uhn_list *list);

/* A list of one borrowed chunk, for patterns that no memory holds; NULL if out of memory. */
uhn_list *uhn_list_borrow(const void *patterns, const void *values, size_t n_rows);

/* Makes the statistic of every row of the list. */
uhn_status uhn_list_scales(uhn_list *list, uhn_statistic statistic, uhn_dtype dtype,
                           size_t n_features, const uhn_run *run);

/* UHN_OK if every row is inside the domain of a similarity of distributions, whose sums are made: each
 * row is looked at once in its life. */
uhn_status uhn_list_check(uhn_list *list, const uhn_memory *memory,
                          const uhn_equation *equation, const uhn_run *run, uhn_error *error);

/* UHN_OK if rows [start, stop) of the list hold neither NaN nor infinity. Rows that were stored unseen
 * are looked at here, each once in its life; for all others this does nothing. */
uhn_status uhn_list_look(uhn_list *list, const uhn_memory *memory, size_t start, size_t stop,
                         const uhn_run *run, uhn_error *error);

/* The span that holds a row. */
const uhn_span *uhn_list_span(const uhn_list *list, size_t row);

/* Where a row of a span lies in the chunk. */
UHN_INLINE size_t uhn_span_at(const uhn_span *span, size_t row) {
    return row - span->first + span->offset;
}

/* What edit.c, which takes rows out and exchanges them, builds lists with. Lists and chunks come with
 * one reference; NULL if out of memory. */
uhn_list *uhn_list_new(size_t n_spans);
uhn_priors *uhn_priors_new(uhn_dtype dtype, size_t capacity);
/* Copies the priors of rows [start, start + n_rows), which may all be 1. */
void uhn_list_priors(const uhn_list *list, uhn_dtype dtype, size_t start, size_t n_rows,
                     char *out);
void uhn_chunk_release(uhn_chunk *chunk);
/* An empty chunk of our own with room for `capacity` rows. */
uhn_chunk *uhn_chunk_own(const uhn_memory *memory, size_t capacity);
/* Writes rows behind the last one; the chunk's lock is held or nobody else knows the chunk. */
void uhn_chunk_append(const uhn_memory *memory, uhn_chunk *chunk, const void *patterns,
                      const void *values, size_t n_rows);
/* UHN_OK if rows fit the memory and its type; their numbers are not looked at. */
uhn_status uhn_memory_fits(const uhn_memory *memory, const uhn_rows *rows, uhn_error *error);
/* UHN_OK if their numbers are finite, and if priors (may be NULL) are > 0. */
uhn_status uhn_memory_look(const uhn_memory *memory, const uhn_rows *rows, bool *missing,
                           bool *missing_values, uhn_error *error);
uhn_status uhn_prior_check(uhn_dtype dtype, const void *prior, size_t n_rows, uhn_error *error);
/* Swaps the list; the caller holds store_lock and, after letting it go, releases the old list, which
 * is returned. */
uhn_list *uhn_memory_publish(uhn_memory *memory, uhn_list *list);

#endif
