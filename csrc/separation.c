/*
 * separation.c - the table of separations: lookup, weights, merging, candidates.
 *
 * Everything here is double arithmetic without contraction, so that it is the same on every path; the
 * vectorised exponentials of the softmax family are in kernels.inc.h.
 */
#include "separation.h"

#include "scalar.h"

typedef struct row {
    uhn_row_info info;
    uhn_family family;
} row;

static const row ROWS[UHN_N_SEPARATIONS] = {
#define UHN_SEPARATION(name_, family_, parameters_, simplex_, normalize_, prior_, lagrangian_, \
                       doc_)                                                                   \
    {.info = {.name = #name_,                                                                  \
              .doc = doc_,                                                                     \
              .parameters = parameters_,                                                       \
              .lagrangian = lagrangian_,                                                       \
              .is_simplex = simplex_,                                                          \
              .has_normalize = normalize_,                                                     \
              .has_prior = prior_},                                                            \
     .family = UHN_FAMILY_##family_},
#include "separation.def"
#undef UHN_SEPARATION
};

const uhn_row_info *uhn_separation_info(uhn_separation separation) {
    return (unsigned)separation < UHN_N_SEPARATIONS ? &ROWS[separation].info : NULL;
}

uhn_separation_plan uhn_separation_plan_of(const uhn_equation *equation, uhn_dtype dtype) {
    const bool single = dtype == UHN_FLOAT32;
    uhn_separation_plan plan = {
        .row = equation->separation,
        .family = equation->separation == UHN_SEP_custom ? UHN_FAMILY_plain
                                                         : ROWS[equation->separation].family,
        .normalize = equation->normalize,
        /* Bits of the significand, and 40 more so that 10^12 dropped weights cannot matter. */
        .cutoff = single ? 64 : 96,
        .beta = equation->beta,
        .degree = equation->degree,
        .theta = equation->theta,
        .alpha = equation->alpha,
        .whole = equation->degree == floor(equation->degree) && equation->degree < 0x1p31,
        .k = equation->separation == UHN_SEP_max ? 1 : equation->k,
        .weigh = equation->weigh,
        .weigh_context = equation->weigh_context,
    };
    /* Above this beta is infinite for every score a user has, but products with it would be too. */
    plan.factor = UHN_MIN(equation->beta * 1.4426950408889634074, single ? 0x1p60 : 0x1p500);
    if (plan.row == UHN_SEP_entmax && plan.alpha == 1) {
        plan.row = UHN_SEP_softmax;
        plan.family = UHN_FAMILY_exp;
    }
    if (plan.row == UHN_SEP_sparsemax) plan.alpha = 2;
    return plan;
}

/* --------------------------------------------------------------------------------------- sums -- */

double uhn_reference(const uhn_separation_plan *plan, double top) {
    if (plan->row == UHN_SEP_threshold) return 0;
    if (top == INFINITY) return INFINITY;
    switch (plan->family) {
    case UHN_FAMILY_exp: return rint(top);
    case UHN_FAMILY_power: return top > 0 ? rint(plan->degree * uhn_log2(top)) : -INFINITY;
    default: return 0;
    }
}

double uhn_rescale(const uhn_separation_plan *plan, double from, double to) {
    if (from == to) return 1;
    if (from == -INFINITY || to == INFINITY || from - to < -plan->cutoff) return 0;
    return ldexp(1, (int)(from - to));
}

void uhn_keys(const uhn_separation_plan *plan, const double *scores, size_t n_rows,
              size_t lanes, double *top) {
    const bool rectified = plan->row == UHN_SEP_rectified_polynomial;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < lanes; i++) {
            const double s = scores[r * lanes + i];
            const double key = s == -INFINITY ? s : rectified && s < 0 ? 0 : fabs(s);
            top[i] = key > top[i] ? key : top[i];
        }
}

/* base^degree, lane by lane; all lanes share the exponent, so its bits are the outer loop. */
static void whole_powers(double *base, double *power, size_t lanes, unsigned long degree) {
    for (size_t i = 0; i < lanes; i++) power[i] = 1;
    for (;; degree >>= 1) {
        if (degree & 1)
            for (size_t i = 0; i < lanes; i++) power[i] *= base[i];
        if (degree <= 1) return;
        for (size_t i = 0; i < lanes; i++) base[i] *= base[i];
    }
}

/* |s|^degree / 2^reference with the sign of s^degree. The base is scaled by a power of two first, so
 * that neither it nor the power leaves the range of doubles, and small whole numbers stay exact. */
static bool weigh_powers(const uhn_separation_plan *plan, const double *reference, size_t lanes,
                         double *s) {
    const bool rectified = plan->row == UHN_SEP_rectified_polynomial;
    const double degree = plan->degree;
    double base[UHN_MAX_LANES], power[UHN_MAX_LANES], rest[UHN_MAX_LANES];
    bool good = true;
    for (size_t i = 0; i < lanes; i++) {
        const double exponent = isfinite(reference[i]) ? ceil(reference[i] / degree) : 0;
        /* In two steps, as scores that are subnormal want more than the largest power of two. */
        const int up = -(int)exponent, first = UHN_MIN(up, 1000);
        base[i] = s[i] * ldexp(1, first) * ldexp(1, up - first);
        rest[i] = isfinite(reference[i]) ? degree * exponent - reference[i] : 0;
        if (s[i] == -INFINITY || (rectified && s[i] < 0)) base[i] = 0;
        if (!plan->whole) good &= base[i] >= 0;
    }
    if (plan->whole && degree <= 512) {
        whole_powers(base, power, lanes, (unsigned long)degree);
        for (size_t i = 0; i < lanes; i++) power[i] *= ldexp(1, (int)rest[i]);
    } else {
        for (size_t i = 0; i < lanes; i++) {
            const double m = fabs(base[i]);
            if (m == 0) power[i] = 0;
            else if (degree <= 512) power[i] = uhn_pow(m, degree) * uhn_exp2(rest[i]);
            else power[i] = uhn_exp2(degree * uhn_log2(m) + rest[i]); /* m^degree may be 0 */
            if (base[i] < 0 && fmod(degree, 2) == 1) power[i] = -power[i];
        }
    }
    memcpy(s, power, lanes * sizeof *s);
    return good;
}

static bool weigh_plain(const uhn_separation_plan *plan, size_t lanes, double *s) {
    bool good = true;
    for (size_t i = 0; i < lanes; i++) {
        if (s[i] == -INFINITY) {
            s[i] = 0;
            continue;
        }
        if (plan->non_negative) good &= s[i] >= 0;
        switch (plan->row) {
        case UHN_SEP_sqrt:
            good &= s[i] >= 0;
            s[i] = __builtin_sqrt(s[i] > 0 ? s[i] : 0);
            break;
        case UHN_SEP_log1p:
            good &= s[i] >= 0;
            s[i] = uhn_log1p(s[i] > 0 ? s[i] : 0);
            break;
        case UHN_SEP_threshold: s[i] = s[i] >= plan->theta; break;
        default: break; /* identity, and weights that a caller's function made already */
        }
    }
    return good;
}

/* What one pattern adds to the Lagrangian, given its score and its weight (prior and units of the
 * reference included). */
static double lagrangian_term(const uhn_separation_plan *plan, double s, double w,
                              double prior) {
    if (w == 0) return 0;
    switch (plan->row) {
    case UHN_SEP_identity: return w * s / 2;
    case UHN_SEP_sqrt: return w * s * 2 / 3;
    case UHN_SEP_log1p: return w * (1 + s) - prior * s;
    case UHN_SEP_threshold: return w * (s - plan->theta);
    default: return w * s / (plan->degree + 1);
    }
}

bool uhn_weigh(const uhn_separation_plan *plan, const double *reference, const double *prior,
               size_t n_rows, size_t lanes, double *scores, double *sum, double *lagrangian) {
    const double least = ldexp(1, -plan->cutoff);
    bool good = true, infinite = false;
    for (size_t i = 0; i < lanes; i++) infinite |= reference[i] == INFINITY;
    for (size_t r = 0; r < n_rows; r++) {
        double *s = scores + r * lanes;
        double before[UHN_MAX_LANES];
        if (infinite || lagrangian) memcpy(before, s, lanes * sizeof *s);
        good &= plan->family == UHN_FAMILY_power ? weigh_powers(plan, reference, lanes, s)
                                                 : weigh_plain(plan, lanes, s);
        if (infinite)
            for (size_t i = 0; i < lanes; i++)
                if (reference[i] == INFINITY) s[i] = before[i] == INFINITY;
        for (size_t i = 0; i < lanes; i++) {
            double w = s[i] * (prior ? prior[r] : 1);
            if (plan->family == UHN_FAMILY_power && fabs(w) < least) w = 0;
            s[i] = w;
            sum[i] += fabs(w);
            if (lagrangian)
                lagrangian[i] += lagrangian_term(plan, before[i], w, prior ? prior[r] : 1);
        }
    }
    return good;
}

double uhn_lagrangian(const uhn_separation_plan *plan, double reference, double sum,
                      double gathered) {
    if (plan->family != UHN_FAMILY_exp)
        return reference == -INFINITY ? 0 : gathered * uhn_exp2(reference);
    if (plan->row == UHN_SEP_exponential) return uhn_exp2(reference) * sum / plan->beta;
    if (plan->row == UHN_SEP_softmax)
        return sum == 0 ? -INFINITY : (reference + uhn_log2(sum)) / plan->factor;
    if (sum == 0) return 0;
    /* softmax1, whose 1 is 2^-reference in the units of the sum */
    if (reference > 0) return (reference + uhn_log2(sum + uhn_exp2(-reference))) / plan->factor;
    return uhn_log1p(sum * uhn_exp2(reference)) / plan->beta;
}

void uhn_conclusion(const uhn_separation_plan *plan, double reference, double sum,
                    double *factor, double *divisor) {
    *factor = 1;
    *divisor = 1;
    if (sum == 0) return;
    if (plan->row == UHN_SEP_softmax || plan->normalize == UHN_NORMALIZE_SUM) {
        *divisor = sum;
    } else if (plan->row == UHN_SEP_softmax1) {
        *divisor = sum + (reference == INFINITY ? 0 : uhn_exp2(-reference));
    } else if (plan->row == UHN_SEP_exponential || plan->family == UHN_FAMILY_power) {
        *factor = uhn_exp2(reference);
    } else if (reference == INFINITY) {
        *factor = INFINITY;
    }
}

/* --------------------------------------------------------------------------------- candidates -- */

void uhn_candidates_init(uhn_candidates *list) { *list = (uhn_candidates){.floor = -INFINITY}; }

void uhn_candidates_free(uhn_candidates *list) {
    free(list->items);
    uhn_candidates_init(list);
}

static int better(const void *a_, const void *b_) {
    const uhn_candidate *a = a_, *b = b_;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool reserve(uhn_candidates *list, size_t more) {
    if (list->n + more <= list->capacity) return true;
    size_t capacity = UHN_MAX(list->n + more, list->capacity + list->capacity / 2), bytes;
    if (!uhn_mul(capacity, 1, sizeof *list->items, &bytes)) return false;
    uhn_candidate *items = realloc(list->items, bytes);
    if (!items) return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

/* Scores as sparsemax and entmax see them, below the best: (alpha - 1) beta (s - top). */
static double scaled(const uhn_separation_plan *plan, double score, double top) {
    const double scale = (plan->alpha - 1) * plan->beta;
    return score == top ? 0 : (score - top) * UHN_MIN(scale, 0x1p500);
}

/* No weight may exceed 1, so prior (x - tau)^(1/(alpha-1)) <= 1 for each pattern, and tau is at least
 * x - prior^-(alpha-1). A pattern below that has none. */
static double lower_bound(const uhn_separation_plan *plan, double score, double top,
                          double prior) {
    return scaled(plan, score, top) - (prior == 1 ? 1 : uhn_pow(1 / prior, plan->alpha - 1));
}

static void prune(const uhn_separation_plan *plan, uhn_candidates *list) {
    if (plan->family == UHN_FAMILY_best) {
        if (list->n > plan->k) {
            qsort(list->items, list->n, sizeof *list->items, better);
            list->n = plan->k;
        }
        if (list->n == plan->k) {
            double worst = INFINITY;
            for (size_t i = 0; i < list->n; i++) worst = UHN_MIN(worst, list->items[i].score);
            list->floor = worst;
        }
    } else {
        double top = -INFINITY, bound = -INFINITY;
        for (size_t i = 0; i < list->n; i++) top = UHN_MAX(top, list->items[i].score);
        for (size_t i = 0; i < list->n; i++)
            bound = UHN_MAX(bound,
                            lower_bound(plan, list->items[i].score, top, list->items[i].prior));
        /* A later top moves every number by rounding. */
        bound -= 1e-6 * (1 + fabs(bound));
        size_t kept = 0;
        for (size_t i = 0; i < list->n; i++)
            if (scaled(plan, list->items[i].score, top) >= bound)
                list->items[kept++] = list->items[i];
        list->n = kept;
    }
    list->check = plan->family == UHN_FAMILY_best && plan->k <= 64
                      ? plan->k + 1
                      : UHN_MAX(2 * list->n, (size_t)256);
}

uhn_status uhn_candidates_absorb(const uhn_separation_plan *plan, uhn_candidates *list,
                                 const double *scores, size_t lanes, size_t n_rows,
                                 const double *prior, int64_t index) {
    if (!reserve(list, n_rows)) return UHN_NO_MEMORY;
    const bool best = plan->family == UHN_FAMILY_best;
    for (size_t r = 0; r < n_rows; r++) {
        const double s = scores[r * lanes];
        if (!best && s == -INFINITY) continue;
        /* A list of k is full: an equal score that comes later has the higher index. */
        if (best && list->floor > -INFINITY && !(s > list->floor)) continue;
        list->items[list->n++] = (uhn_candidate){.score = s,
                                                 .prior = prior ? prior[r] : 1,
                                                 .index = index + (int64_t)r};
    }
    if (list->n >= list->check) prune(plan, list);
    return UHN_OK;
}

uhn_status uhn_candidates_merge(const uhn_separation_plan *plan, uhn_candidates *list,
                                const uhn_candidate *from, size_t n) {
    if (!reserve(list, n)) return UHN_NO_MEMORY;
    if (n) memcpy(list->items + list->n, from, n * sizeof *from);
    list->n += n;
    prune(plan, list);
    return UHN_OK;
}

void uhn_candidates_sort(const uhn_separation_plan *plan, uhn_candidates *list) {
    prune(plan, list);
    if (list->n > 1) qsort(list->items, list->n, sizeof *list->items, better);
}

/* x - tau to the power 1 / (alpha - 1), times the prior. */
static double entmax_weight(double gap, double exponent, double prior) {
    if (!(gap > 0)) return 0;
    if (exponent == 1) return prior * gap;
    if (exponent == 2) return prior * (gap * gap);
    return prior * uhn_pow(gap, exponent);
}

static double entmax_total(const uhn_separation_plan *plan, const uhn_candidates *list,
                           double tau, double exponent) {
    const double top = list->items[0].score;
    double total = 0;
    for (size_t i = 0; i < list->n; i++) {
        const double gap = scaled(plan, list->items[i].score, top) - tau;
        if (!(gap > 0)) break; /* sorted */
        total += entmax_weight(gap, exponent, list->items[i].prior);
    }
    return total;
}

/* The tau, below the best score, at which the weights sum to 1: by sorting for sparsemax, by bisection
 * else. */
static double solve_tau(const uhn_separation_plan *plan, const uhn_candidates *list,
                        double exponent) {
    const double top = list->items[0].score;
    if (exponent == 1) {
        double sum = 0, mass = 0, tau = 0;
        for (size_t i = 0; i < list->n; i++) {
            const double x = scaled(plan, list->items[i].score, top), c = list->items[i].prior;
            if (mass > 0 && !(x > tau)) break;
            sum += c * x;
            mass += c;
            tau = (sum - 1) / mass;
        }
        return tau;
    }
    double mass = 0, low = -INFINITY;
    for (size_t i = 0; i < list->n; i++)
        low = UHN_MAX(low, lower_bound(plan, list->items[i].score, top, list->items[i].prior));
    /* Patterns at or below `low` have no weight; which of them are still here must not matter. */
    for (size_t i = 0; i < list->n && scaled(plan, list->items[i].score, top) > low; i++)
        mass += list->items[i].prior;
    /* At `low` one weight alone reaches 1; at `high` each is at most its prior's share. */
    double high = -uhn_pow(1 / mass, plan->alpha - 1);
    for (int i = 0; i < 1100; i++) {
        const double middle = low + (high - low) / 2;
        if (!(middle > low && middle < high)) break;
        if (entmax_total(plan, list, middle, exponent) >= 1) low = middle;
        else high = middle;
    }
    return low;
}

bool uhn_candidates_weights(const uhn_separation_plan *plan, const uhn_candidates *list,
                            double *weights) {
    if (list->n == 0 || list->items[0].score == -INFINITY) return false;
    const double top = list->items[0].score;
    double sum = 0;
    if (top == INFINITY && plan->row != UHN_SEP_max && plan->row != UHN_SEP_topk) {
        for (size_t i = 0; i < list->n; i++) {
            weights[i] = list->items[i].score == INFINITY ? list->items[i].prior : 0;
            sum += weights[i];
        }
    } else if (plan->row == UHN_SEP_topk_softmax) {
        for (size_t i = 0; i < list->n; i++) {
            weights[i] = list->items[i].score == -INFINITY
                             ? 0
                             : uhn_exp2(plan->factor * (list->items[i].score - top));
            sum += weights[i];
        }
    } else if (plan->family == UHN_FAMILY_best) {
        for (size_t i = 0; i < list->n; i++) {
            weights[i] = list->items[i].score != -INFINITY;
            sum += weights[i];
        }
    } else {
        const double exponent = 1 / (plan->alpha - 1);
        const double tau = solve_tau(plan, list, exponent);
        for (size_t i = 0; i < list->n; i++) {
            weights[i] = entmax_weight(scaled(plan, list->items[i].score, top) - tau, exponent,
                                       list->items[i].prior);
            sum += weights[i];
        }
    }
    for (size_t i = 0; i < list->n; i++) weights[i] /= sum;
    return sum > 0;
}

double uhn_candidates_lagrangian(const uhn_separation_plan *plan, const uhn_candidates *list,
                                 const double *weights) {
    const double top = list->items[0].score;
    if (plan->row == UHN_SEP_max) return top;
    double total = 0, entropy = 0;
    if (plan->row == UHN_SEP_topk_softmax) {
        for (size_t i = 0; i < list->n; i++)
            total += uhn_exp2(plan->factor * (list->items[i].score - top));
        return top + uhn_log2(total) / plan->factor;
    }
    for (size_t i = 0; i < list->n; i++) {
        if (weights[i] == 0) continue;
        total += weights[i] * list->items[i].score;
        if (plan->family == UHN_FAMILY_support)
            entropy +=
                list->items[i].prior * uhn_pow(weights[i] / list->items[i].prior, plan->alpha);
    }
    if (plan->family == UHN_FAMILY_best) return total;
    return total + (1 - entropy) / (plan->alpha * (plan->alpha - 1) * plan->beta);
}
