/*
 * equation.c - words for statuses, the default equation, and the bounds of its parameters (layer 2).
 */
#include "platform.h"

const char *uhn_status_string(uhn_status status) {
    switch (status) {
    case UHN_OK: return "success";
    case UHN_NO_MEMORY: return "out of memory";
    case UHN_BAD_SHAPE: return "sizes do not fit";
    case UHN_BAD_PARAMETER: return "a parameter is out of bounds";
    case UHN_BAD_NAME: return "no such name";
    case UHN_BAD_DATA: return "data outside the domain";
    case UHN_EMPTY: return "no pattern can answer";
    case UHN_MISMATCH: return "partials do not belong together";
    case UHN_OVERFLOW: return "the result is too large for its type";
    case UHN_CALLBACK: return "a caller's function failed";
    case UHN_STOPPED: return "stopped";
    case UHN_NO_ENERGY: return "there is no energy";
    }
    return "unknown status";
}

uhn_equation uhn_equation_default(void) {
    return (uhn_equation){
        .similarity = UHN_SIM_dot,
        .separation = UHN_SEP_softmax,
        .gamma = 1,
        .beta = 1,
        .degree = 2,
        .alpha = 1.5,
        .k = 1,
        .clamp = true,
    };
}

uhn_status uhn_equation_check(const uhn_equation *e, uhn_error *error) {
    const uhn_row_info *similarity = uhn_similarity_info(e->similarity);
    const uhn_row_info *separation = uhn_separation_info(e->separation);
    if ((e->similarity == UHN_SIM_custom && !e->score) ||
        (e->separation == UHN_SEP_custom && !e->weigh))
        return uhn_fail(error, UHN_BAD_PARAMETER, "a custom %s needs its function, %s",
                        e->similarity == UHN_SIM_custom && !e->score ? "similarity"
                                                                     : "separation",
                        e->similarity == UHN_SIM_custom && !e->score ? "score" : "weigh");
    if (!similarity && !(e->similarity == UHN_SIM_custom && e->score))
        return uhn_fail(error, UHN_BAD_NAME, "similarity %d is not a row of the table",
                        (int)e->similarity);
    if (!separation && !(e->separation == UHN_SEP_custom && e->weigh))
        return uhn_fail(error, UHN_BAD_NAME, "separation %d is not a row of the table",
                        (int)e->separation);
    if ((unsigned)e->transform >= UHN_N_TRANSFORMS)
        return uhn_fail(error, UHN_BAD_NAME,
                        "transform %d is not one of negative, inverse, rbf", (int)e->transform);
    if (e->transform != UHN_NEGATIVE && !(similarity && similarity->is_distance))
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "transform is for distances; similarity '%s' is none",
                        similarity ? similarity->name : "custom");
    if ((unsigned)e->normalize >= UHN_N_NORMALIZES)
        return uhn_fail(error, UHN_BAD_NAME, "normalize %d is not one of none, sum",
                        (int)e->normalize);
    if (e->normalize != UHN_NORMALIZE_NONE && separation && !separation->has_normalize)
        return uhn_fail(error, UHN_BAD_PARAMETER,
                        "normalize does not apply to separation '%s'%s", separation->name,
                        separation->is_simplex ? ", whose weights sum to 1 already" : "");
    if (!(e->eps >= 0 && isfinite(e->eps)))
        return uhn_fail(error, UHN_BAD_PARAMETER, "eps must be finite and >= 0, got %g",
                        e->eps);
    if (!(e->gamma > 0 && isfinite(e->gamma)))
        return uhn_fail(error, UHN_BAD_PARAMETER, "gamma must be finite and > 0, got %g",
                        e->gamma);
    if (!(e->beta >= 0 && isfinite(e->beta)))
        return uhn_fail(error, UHN_BAD_PARAMETER, "beta must be finite and >= 0, got %g",
                        e->beta);
    if (!(e->degree > 0 && e->degree <= 1e6))
        return uhn_fail(error, UHN_BAD_PARAMETER, "degree must be > 0 and at most 1e6, got %g",
                        e->degree);
    if (isnan(e->theta))
        return uhn_fail(error, UHN_BAD_PARAMETER, "theta must be a number, got NaN");
    if (!(e->alpha >= 1 && e->alpha <= 1e3))
        return uhn_fail(error, UHN_BAD_PARAMETER, "alpha must be from 1 to 1000, got %g",
                        e->alpha);
    if (e->k < 1) return uhn_fail(error, UHN_BAD_PARAMETER, "k must be at least 1, got 0");
    return UHN_OK;
}
