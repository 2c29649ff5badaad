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

/* What `squares` and `numbers` a plan reads. */
bool uhn_part_squares(const uhn_similarity_plan *plan);
bool uhn_part_scaled(const uhn_similarity_plan *plan);

/* True if the scores of whole pairs must be there before uhn_part_scores; else it makes all of them. */
bool uhn_part_keeps_whole(const uhn_similarity_plan *plan);

/* Scores of a tile against one panel, S[row][lane], wherever one side lacks a feature. `scratch` has
 * room for four times S. `known` of rows that all are whole need not be there where numbers are not
 * scaled. */
void uhn_part_scores(const uhn_kernels *kernels, uhn_dtype dtype,
                     const uhn_similarity_plan *plan, const uhn_part *rows,
                     const uhn_part *panel, size_t n_features, size_t lanes, char *scratch,
                     char *S);

#endif
