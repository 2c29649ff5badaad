/*
 * energy.c - the table of energies, and the passes that read them (layer 4).
 *
 * Retrieval is v' = M^T f(S(v)) with f the gradient of a convex L. For the dot product,
 *
 *     E(v) = 1/2 |v|^2 - L(M v),    E(v') <= E(v) - 1/2 |v' - v|^2,
 *
 * since L(M v') >= L(M v) + v' . (v' - v). For S = -d^2 and weights on the simplex v' is the point that
 * minimises sum f_mu |m_mu - v|^2, and E = -L(S) cannot rise for the same reason. For anything else
 * the step is not one of descent, and there is no energy to give.
 */
#include "retrieve.h"

typedef struct row {
    uhn_similarity similarity;
    double quadratic;
    bool simplex;
    double slope;
} row;

static const row ROWS[] = {
#define UHN_ENERGY(similarity_, quadratic_, simplex_, slope_, doc_)                            \
    {.similarity = UHN_SIM_##similarity_,                                                      \
     .quadratic = (quadratic_),                                                                \
     .simplex = (simplex_),                                                                    \
     .slope = (slope_)},
#include "energy.def"
#undef UHN_ENERGY
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

static const row *row_of(const uhn_equation *e) {
    for (int i = 0; i < N_ROWS; i++)
        if (ROWS[i].similarity == e->similarity && e->transform == UHN_NEGATIVE)
            return &ROWS[i];
    return NULL;
}

/* The row that gives the energy, or NULL and the reason. */
static const row *find(const uhn_memory *memory, const uhn_equation *e, uhn_error *error) {
    const uhn_row_info *separation = uhn_separation_info(e->separation);
    const uhn_row_info *similarity = uhn_similarity_info(e->similarity);
    const row *found = row_of(e);
    if (!memory->autoassociative)
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy: the values are not the patterns, so that an answer does "
                 "not become a query (hetero-association)");
    else if (uhn_memory_has_missing(memory))
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy: patterns lack features, so that each feature is answered "
                 "by other patterns");
    else if (!similarity || !separation)
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy: nothing is known about the %s of the caller's own",
                 similarity ? "separation" : "similarity");
    else if (e->normalize != UHN_NORMALIZE_NONE || e->normalize_scores)
        uhn_fail(
            error, UHN_NO_ENERGY,
            "there is no energy: %s divided by their sum are not the gradient of anything; "
            "use %s",
            e->normalize_scores ? "scores" : "weights",
            e->normalize_scores ? "normalize_scores=False"
                                : "normalize='none', or separation='softmax'");
    else if (!found)
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy: under similarity '%s'%s the projection is not the way on "
                 "which scores rise; 'dot' has one, and 'sqeuclidean' with weights that sum "
                 "to 1",
                 similarity->name, e->transform == UHN_NEGATIVE ? "" : " with its transform");
    else if (found->simplex && !separation->is_simplex)
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy: with similarity '%s' the weights must sum to 1, as those "
                 "of softmax do; those of '%s' do not",
                 similarity->name, separation->name);
    else if (e->beta == 0 && strstr(separation->parameters, "beta"))
        uhn_fail(error, UHN_NO_ENERGY,
                 "there is no energy at beta = 0, where it is infinite; use beta > 0");
    else return found;
    return NULL;
}

uhn_status uhn_energy_check(const uhn_memory *memory, const uhn_equation *equation,
                            uhn_error *error) {
    const uhn_status status = uhn_equation_check(equation, error);
    if (status != UHN_OK) return status;
    return find(memory, equation, error) ? UHN_OK : UHN_NO_ENERGY;
}

uhn_status uhn_energies_of(uhn_dtype dtype, const uhn_equation *equation, const void *states,
                           size_t n_states, size_t n_features, double *out, uhn_error *error) {
    const row *found = row_of(equation);
    if (!found) return uhn_fail(error, UHN_NO_ENERGY, "%s", uhn_status_string(UHN_NO_ENERGY));
    for (size_t i = 0; i < n_states; i++) {
        const void *v = (const char *)states + i * n_features * uhn_dtype_size(dtype);
        double square = 0;
        for (size_t j = 0; found->quadratic != 0 && j < n_features; j++) {
            const double x = uhn_get(dtype, v, j);
            square += x * x;
        }
        out[i] = found->quadratic * square - out[i];
        if (!isfinite(out[i]))
            return uhn_fail(error, UHN_OVERFLOW,
                            "the energy of state %zu is not finite: its scores are too large "
                            "for the separation; use smaller patterns, or a smaller beta or "
                            "degree",
                            i);
    }
    return UHN_OK;
}

static bool is_even(const uhn_equation *e) {
    return e->separation == UHN_SEP_polynomial && fmod(e->degree, 2) == 0;
}

uhn_status uhn_lyapunov(const uhn_memory *memory, const uhn_equation *equation,
                        uhn_error *error) {
    if (error) *error = (uhn_error){0};
    const uhn_status status = uhn_equation_check(equation, error);
    if (status != UHN_OK) return status;
    if (!find(memory, equation, error)) return UHN_NO_ENERGY;
    if (is_even(equation))
        return uhn_fail(error, UHN_NO_ENERGY,
                        "the energy may rise: its term s^%g is not convex where scores are "
                        "negative; use 'rectified_polynomial', or an odd degree",
                        equation->degree + 1);
    return UHN_OK;
}

uhn_status uhn_energy(const uhn_memory *memory, const uhn_equation *equation,
                      const void *states, size_t n_states, const uhn_run *run, double *out,
                      uhn_error *error) {
    uhn_problem problem;
    uhn_pass pass;
    double *sums;
    if (error) *error = (uhn_error){0};
    uhn_status status = uhn_energy_check(memory, equation, error);
    if (status != UHN_OK) return status;
    uhn_equation whole = *equation;
    whole.missing = false;
    equation = &whole;
    status = uhn_pass_begin(memory, equation, states, n_states, run, NULL, error, &problem,
                            &pass, &sums);
    if (status != UHN_OK) return status;
    problem.lagrangians = out;
    pass.shape.project = false;
    pass.shape.lagrangian = true;
    if (n_states) status = uhn_pass_answer(&pass);
    if (status == UHN_OK)
        status = uhn_energies_of(memory->dtype, equation, states, n_states, memory->n_features,
                                 out, error);
    free(sums);
    uhn_list_release(problem.list);
    return status;
}

uhn_status uhn_energy_gradient(const uhn_memory *memory, const uhn_equation *equation,
                               const void *states, size_t n_states, const uhn_run *run,
                               void *out, uhn_error *error) {
    if (error) *error = (uhn_error){0};
    uhn_status status = uhn_equation_check(equation, error);
    if (status != UHN_OK) return status;
    const row *found = find(memory, equation, error);
    if (!found) return UHN_NO_ENERGY;
    uhn_equation whole = *equation;
    whole.missing = false;
    status = uhn_retrieve(memory, &whole, states, n_states, run, out, NULL, error);
    if (status != UHN_OK) return status;
    for (size_t i = 0; i < n_states * memory->n_features; i++)
        uhn_put(memory->dtype, out, i,
                found->slope *
                    (uhn_get(memory->dtype, states, i) - uhn_get(memory->dtype, out, i)));
    return UHN_OK;
}
