/*
 * similarity.c - the table of similarities: lookup, statistics of rows, epilogues.
 */
#include "similarity.h"

typedef struct row {
    uhn_row_info info;
    uhn_score_kernel kernel;
    uhn_statistic statistic;
} row;

static const row ROWS[UHN_N_SIMILARITIES] = {
#define UHN_SIMILARITY(name_, kernel_, statistic_, distance_, non_negative_, parameters_,      \
                       doc_)                                                                   \
    {.info = {.name = #name_,                                                                  \
              .doc = doc_,                                                                     \
              .parameters = parameters_,                                                       \
              .is_distance = distance_,                                                        \
              .non_negative = non_negative_},                                                  \
     .kernel = UHN_SCORE_##kernel_,                                                            \
     .statistic = UHN_STATISTIC_##statistic_},
#include "similarity.def"
#undef UHN_SIMILARITY
};

const uhn_row_info *uhn_similarity_info(uhn_similarity similarity) {
    return (unsigned)similarity < UHN_N_SIMILARITIES ? &ROWS[similarity].info : NULL;
}

uhn_similarity_plan uhn_similarity_plan_of(const uhn_equation *equation) {
    if (equation->similarity == UHN_SIM_custom) return (uhn_similarity_plan){0};
    const row *r = &ROWS[equation->similarity];
    uhn_similarity_plan plan = {
        .kernel = r->kernel,
        .statistic = r->statistic,
        .logs = r->kernel >= UHN_SCORE_kl,
        .halves = r->kernel == UHN_SCORE_jensen_shannon,
        .eps = equation->eps,
        .finish = {.kind = UHN_FINISH_none, .eps = equation->eps, .gamma = equation->gamma},
    };
    if (r->info.is_distance) {
        static const uhn_finish_kernel OF[] = {UHN_FINISH_negative, UHN_FINISH_inverse,
                                               UHN_FINISH_rbf};
        plan.finish.kind = OF[equation->transform];
        plan.finish.squared = equation->similarity == UHN_SIM_sqeuclidean;
        plan.finish.root = equation->similarity == UHN_SIM_euclidean;
        if (plan.finish.root && plan.finish.kind == UHN_FINISH_rbf) {
            /* The square of a square root is the number before it. */
            plan.finish.root = false;
            plan.finish.squared = true;
        }
    } else if (r->statistic != UHN_STATISTIC_none) {
        plan.finish.kind = UHN_FINISH_scale;
    }
    return plan;
}

double uhn_row_scale(const uhn_kernels *kernels, uhn_dtype dtype, uhn_statistic statistic,
                     const void *x, size_t n_features) {
    const double largest = dtype == UHN_FLOAT32 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023;
    const double s = statistic == UHN_STATISTIC_norm ? kernels->row_norm(x, n_features)
                                                     : kernels->row_sum(x, n_features);
    return UHN_MIN(s, largest);
}

void uhn_prepare_query(const uhn_kernels *kernels, uhn_dtype dtype,
                       const uhn_similarity_plan *plan, const void *query, size_t n_features,
                       void *out, void *logs) {
    if (plan->logs) {
        const double scale = uhn_row_scale(kernels, dtype, plan->statistic, query, n_features);
        kernels->prepare(query, scale, plan->eps, plan->halves, n_features, out, logs);
    } else if (plan->statistic != UHN_STATISTIC_none) {
        kernels->divide_row(query,
                            uhn_row_scale(kernels, dtype, plan->statistic, query, n_features),
                            n_features, out);
    } else {
        memcpy(out, query, n_features * uhn_dtype_size(dtype));
    }
}
