/*
 * similarity.h - what a row of similarity.def means for the pass (layer 2).
 *
 * May include: kernels.h.
 *
 * A score is made in three steps: both sides are prepared (a statistic of the row, a division, a
 * logarithm), a kernel runs over the features, an epilogue turns the raw number into a score.
 */
#ifndef UHN_SIMILARITY_H
#define UHN_SIMILARITY_H

#include "kernels.h"

typedef enum uhn_statistic {
    UHN_STATISTIC_none,
    UHN_STATISTIC_norm,
    UHN_STATISTIC_sum
} uhn_statistic;
enum { UHN_N_STATISTICS = 3 };

typedef struct uhn_similarity_plan {
    uhn_score_kernel kernel;
    uhn_statistic statistic;
    bool logs;   /* rows and queries become distributions with logarithms beside them */
    bool halves; /* p / 2 and (p / 2) log p instead of p and log p */
    double eps;  /* of those distributions */
    uhn_finish finish;
} uhn_similarity_plan;

uhn_similarity_plan uhn_similarity_plan_of(const uhn_equation *equation);

/* The norm or the sum of a row, kept finite in the dtype: what its scores or elements are divided by. */
double uhn_row_scale(const uhn_kernels *kernels, uhn_dtype dtype, uhn_statistic statistic,
                     const void *row, size_t n_features);

/* A query as the kernels want it: `out` (n_features), and `logs` if the plan has them. */
void uhn_prepare_query(const uhn_kernels *kernels, uhn_dtype dtype,
                       const uhn_similarity_plan *plan, const void *query, size_t n_features,
                       void *out, void *logs);

#endif
