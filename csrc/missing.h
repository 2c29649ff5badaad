/*
 * missing.h - scores of rows and queries that lack some of their features (layer 2).
 *
 * May include: similarity.h.
 *
 * A feature that is NaN is missing. What is compared is what both sides know: the similarity of the
 * pair is that of the two shortened rows,
 *
 *     K = { j : m_j and q_j are known },    sim(m_K, q_K),
 *
 * and where it is a sum over features - dot, euclidean (of its square), sqeuclidean, manhattan, hamming -
 * that sum times n_features / |K|, so that pairs that share few features compare with pairs that share
 * many (Dixon, Pattern recognition with partly missing data, IEEE Trans. Syst. Man Cybern. 9, 1979).
 * cosine, normalized_dot and the divergences are normalised over K, chebyshev is a maximum: they are
 * taken as they are. A pair that shares nothing (under a divergence: no mass, with eps = 0) has the
 * score -infinity: such a row has no say.
 *
 * Where nothing is missing the scores are those of the plain kernels, bit for bit.
 */
#ifndef UHN_MISSING_H
#define UHN_MISSING_H

#include "similarity.h"

/* Rows of a tile, or the queries of a panel: packed, feature by feature, or with `few` as they lie. */
typedef struct uhn_part {
    const char *raw;                       /* with NaN */
    const char *numbers, *known, *squares; /* as uhn_kernels.part_row leaves them */
    const char *rows;                      /* the same, row by row */
    const size_t *counts;                  /* features each has */
    size_t n, n_whole;                     /* how many, and how many lack nothing */
    bool few;                              /* queries: for the kernels of few queries */
} uhn_part;

/* True if both sides are divided by a norm or a sum over what they share. Such a score does not change
 * with the scale of a side, whose parts are scaled so that no square overflows; and whole pairs, which
 * are divided beforehand, must have their scores before uhn_part_scores, which else makes all of them. */
bool uhn_part_normalizes(const uhn_similarity_plan *plan);

/* True if the plan reads `squares`. */
bool uhn_part_squares(const uhn_similarity_plan *plan);

/* Scores of a tile against one panel, S[row][lane], wherever one side lacks a feature. `scratch` has
 * room for four times S. Unless the plan normalizes, `known` of rows that all are whole need not be
 * there. */
void uhn_part_scores(const uhn_kernels *kernels, uhn_dtype dtype,
                     const uhn_similarity_plan *plan, const uhn_part *rows,
                     const uhn_part *panel, size_t n_features, size_t lanes, char *scratch,
                     char *S);

/* n elements that are NaN: nobody could answer. */
void uhn_fill_missing(uhn_dtype dtype, size_t n, void *out);

/* An answer that is a state keeps what its query knew, n elements of either. */
void uhn_clamp(uhn_dtype dtype, const void *query, size_t n, void *state);

#endif
