/*
 * bits_print.c - one line a result: a name and a hash of its bits, for a workload of fixed
 * seed.
 *
 * Two builds (or two CPU paths, or two architectures) agree if and only if their outputs do.
 * The header line goes to stderr so that it does not take part. `bits_print --available` prints
 * the CPU paths of this machine, one a line.
 */
#include "check.h"

enum { MAX_ROWS = 2150, N_QUERIES = 9 }; /* small, as emulators run this too */

static void line(const char *what, const char *name, uhn_dtype dtype, uhn_status status,
                 const void *bytes, size_t n_bytes) {
    if (status != UHN_OK)
        printf("%-9s %-44s %s  %s\n", what, name, dtype == UHN_FLOAT32 ? "f4" : "f8",
               uhn_status_string(status));
    else
        printf("%-9s %-44s %s  %016llx\n", what, name, dtype == UHN_FLOAT32 ? "f4" : "f8",
               (unsigned long long)hash_bytes(HASH_START, bytes, n_bytes));
}

static void run(const workload *w, uhn_dtype dtype, size_t n_rows, size_t n_features,
                size_t n_values, size_t n_queries) {
    const size_t item = item_size(dtype), width = n_values ? n_values : n_features;
    rng r = {.state = 20240 + n_rows};
    void *patterns = must_alloc(n_rows * n_features * item);
    void *values = must_alloc(n_rows * width * item);
    void *queries = must_alloc(n_queries * n_features * item);
    void *prior = must_alloc(n_rows * item);
    void *out = must_alloc(n_queries * (n_rows > width ? n_rows : width) * item);
    int64_t *indices = must_alloc(n_queries * 3 * sizeof *indices);
    uhn_memory *memory = NULL;
    uhn_status status;

    fill(dtype, patterns, n_rows * n_features, &r, w->kind);
    fill(dtype, values, n_rows * width, &r, FILL_SIGNED);
    fill(dtype, queries, n_queries * n_features, &r, w->kind);
    fill(dtype, prior, n_rows, &r, FILL_POSITIVE);
    uhn_rows rows = {.patterns = patterns,
                     .values = n_values ? values : NULL,
                     .prior = w->prior ? prior : NULL,
                     .n_rows = n_rows,
                     .borrow = true};
    if (uhn_memory_new(dtype, n_features, n_values, 0, &memory) != UHN_OK ||
        uhn_memory_store(memory, &rows, NULL) != UHN_OK) {
        printf("%s cannot be stored\n", w->name);
        exit(1);
    }
    status = uhn_retrieve(memory, &w->equation, queries, n_queries, NULL, out, NULL, NULL);
    line("retrieve", w->name, dtype, status, out, n_queries * width * item);
    status = uhn_scores(memory, &w->equation, queries, n_queries, NULL, out, NULL);
    line("scores", w->name, dtype, status, out, n_queries * n_rows * item);
    status = uhn_weights(memory, &w->equation, queries, n_queries, NULL, out, NULL);
    line("weights", w->name, dtype, status, out, n_queries * n_rows * item);
    const size_t k = n_rows < 3 ? n_rows : 3;
    status = uhn_nearest(memory, &w->equation, queries, n_queries, k, NULL, indices, out, NULL);
    line("nearest", w->name, dtype, status, indices, n_queries * k * sizeof *indices);
    if (!n_values) {
        status = uhn_recall(memory, &w->equation, queries, n_queries, 2, 1e-3, NULL, out, NULL,
                            NULL, NULL, NULL, NULL);
        line("recall", w->name, dtype, status, out, n_queries * width * item);
    }
    uhn_memory_free(memory);
    free(patterns), free(values), free(queries), free(prior), free(out), free(indices);
}

static void run_attention(uhn_dtype dtype, size_t n_keys, size_t n_features, size_t n_values) {
    enum { HEADS = 3 };
    const size_t item = item_size(dtype), n_queries = N_QUERIES;
    const size_t sizes[4] = {HEADS * n_queries * n_features, HEADS * n_keys * n_features,
                             HEADS * n_keys * n_values, HEADS * n_queries * n_values};
    rng r = {.state = 77};
    void *buffers[4];
    uint8_t *mask = must_alloc(n_queries * n_keys);
    uhn_head heads[HEADS];
    uhn_equation equation = uhn_equation_default();

    for (int i = 0; i < 4; i++) {
        buffers[i] = must_alloc(sizes[i] * item);
        fill(dtype, buffers[i], sizes[i], &r, FILL_SIGNED);
    }
    for (size_t i = 0; i < n_queries * n_keys; i++) mask[i] = rng_below(&r, 3) != 0;
    for (size_t h = 0; h < HEADS; h++)
        heads[h] = (uhn_head){.queries = at(dtype, buffers[0], h * n_queries * n_features),
                              .keys = at(dtype, buffers[1], h * n_keys * n_features),
                              .values = at(dtype, buffers[2], h * n_keys * n_values),
                              .mask = h ? mask : NULL,
                              .mask_stride = h == 1 ? 0 : n_keys,
                              .out = at_mut(dtype, buffers[3], h * n_queries * n_values)};
    equation.beta = 0.25;
    uhn_status status = uhn_attention(dtype, &equation, heads, HEADS, n_queries, n_keys,
                                      n_features, n_values, NULL, NULL);
    line("attention", "dot.softmax", dtype, status, buffers[3], sizes[3] * item);
    for (int i = 0; i < 4; i++) free(buffers[i]);
    free(mask);
}

/* Landscapes of whole-numbered and of other weights, over two blocks and more. */
static void run_landscape(size_t n_units) {
    rng r = {.state = 31 + n_units};
    const size_t n_words = ((size_t)1 << n_units) / 64;
    double *weights = must_alloc(n_units * n_units * sizeof *weights);
    uint64_t *stable = must_alloc(n_words * sizeof *stable);
    for (int whole = 0; whole < 2; whole++) {
        for (size_t i = 0; i < n_units; i++)
            for (size_t j = 0; j <= i; j++) {
                const double w = (double)((int64_t)(rng_next(&r) >> 43) - (1 << 20));
                weights[i * n_units + j] = weights[j * n_units + i] =
                    whole ? (double)(int)(w / (1 << 19)) : w / 3;
            }
        uhn_status status = uhn_fixed_points(weights, NULL, n_units, NULL, stable, NULL);
        line("landscape", whole ? "whole" : "thirds", UHN_FLOAT64, status, stable,
             n_words * sizeof *stable);
    }
    free(weights), free(stable);
}

/* Networks of couplings: every form and order, cold and hot, alone and in groups; Hebb's counts. */
static void run_network(size_t n, size_t k) {
    enum { STATES = 20 };
    static const double temperatures[4] = {5, 0.5, 0, 0};
    static const char *const forms[4] = {"int16", "int32", "double", "patterns"};
    int8_t *patterns = must_alloc(k * n), *start = must_alloc(STATES * n);
    int8_t *states = must_alloc(STATES * n);
    int16_t *counts16 = must_alloc(n * n * sizeof *counts16);
    int32_t *counts32 = must_alloc(n * n * sizeof *counts32);
    double *weights = must_alloc(n * n * sizeof *weights), *bias = must_alloc(n * sizeof *bias);
    double *out = must_alloc(STATES * n * sizeof *out);
    uint32_t *columns = must_alloc(n * (k / 32 + 1) * sizeof *columns);
    int64_t sweeps[STATES];
    uint8_t codes[STATES], changed[STATES];
    rng r = {.state = 17 + n};
    char name[96];

    for (size_t i = 0; i < k * n; i++) patterns[i] = rng_next(&r) >> 63 ? 1 : -1;
    for (size_t i = 0; i < STATES * n; i++) start[i] = rng_next(&r) >> 63 ? 1 : -1;
    memset(counts32, 0, n * n * sizeof *counts32);
    uhn_status status = uhn_network_hebb(counts32, n, patterns, k, 1, NULL, NULL);
    snprintf(name, sizeof name, "network.%zu.%zu", n, k);
    line("hebb", name, UHN_FLOAT64, status, counts32, n * n * sizeof *counts32);
    fill(UHN_FLOAT64, weights, n * n, &r, FILL_SIGNED);
    fill(UHN_FLOAT64, bias, n, &r, FILL_SIGNED);
    for (size_t i = 0; i < n * n; i++) counts16[i] = (int16_t)counts32[i], weights[i] /= 3;
    uhn_pack_columns(patterns, k, n, columns);
    for (int form = 0; form < 4; form++) {
        const uhn_network network = {.n_units = n,
                                     .counts16 = form == 0 ? counts16 : NULL,
                                     .counts32 = form == 1 ? counts32 : NULL,
                                     .weights = form == 2 ? weights : NULL,
                                     .columns = form == 3 ? columns : NULL,
                                     .n_patterns = form == 3 ? k : 0,
                                     .scale = 1.0 / 3,
                                     .bias = form % 2 ? bias : NULL};
        snprintf(name, sizeof name, "network.%s.%zu.%zu", forms[form], n, k);
        for (size_t b = 1; b <= STATES; b += STATES - 1) {
            for (int order = 0; order < UHN_ORDER_GIVEN; order++)
                for (int hot = 0; hot < 2; hot++) {
                    const uhn_schedule schedule = {.order = (uhn_order)order,
                                                   .n_sweeps = 4,
                                                   .temperatures = hot ? temperatures : NULL};
                    status = uhn_network_settle(&network, &schedule, start, b, NULL, states,
                                                sweeps, codes, changed, NULL);
                    line(hot ? "hot" : "settle", name, UHN_FLOAT64, status, states, b * n);
                    line("sweeps", name, UHN_FLOAT64, status, sweeps, b * sizeof *sweeps);
                }
            status = uhn_network_fields(&network, start, b, NULL, out, NULL);
            line("fields", name, UHN_FLOAT64, status, out, b * n * sizeof *out);
            status = uhn_network_energies(&network, start, b, NULL, out, NULL);
            line("energies", name, UHN_FLOAT64, status, out, b * sizeof *out);
        }
    }
    free(patterns), free(start), free(states), free(counts16), free(counts32), free(weights);
    free(bias), free(out), free(columns);
}

/* Dense associative memories: states in every order, energies and differences. */
static void run_dense(uhn_interaction interaction, double degree, size_t n, size_t k) {
    enum { STATES = 12 };
    static const double temperatures[4] = {50, 2, 0, 0};
    const bool exponential = interaction == UHN_EXPONENTIAL;
    int8_t *patterns = must_alloc(k * n), *start = must_alloc(STATES * n);
    int8_t *states = must_alloc(STATES * n);
    double *out = must_alloc(STATES * n * sizeof *out);
    rng r = {.state = 16};
    uhn_dense *dense = NULL;
    char name[96];

    for (size_t i = 0; i < k * n; i++) patterns[i] = rng_next(&r) >> 63 ? 1 : -1;
    for (size_t i = 0; i < STATES * n; i++)
        start[i] = (int8_t)(rng_below(&r, 4) ? patterns[i] : -patterns[i]);
    snprintf(name, sizeof name, "dense.%d.%g.%zu.%zu", (int)interaction, degree, n, k);
    uhn_status status =
        uhn_dense_new(patterns, k, n, interaction, degree, !exponential, NULL, &dense, NULL);
    for (int order = 0; status == UHN_OK && order < UHN_ORDER_GIVEN; order++)
        for (int hot = 0; hot < 2; hot++) {
            const uhn_schedule schedule = {.order = (uhn_order)order,
                                           .n_sweeps = 4,
                                           .temperatures = hot ? temperatures : NULL};
            memcpy(states, start, STATES * n);
            status = uhn_dense_settle(dense, &schedule, states, STATES, NULL, NULL, NULL, NULL,
                                      NULL, NULL);
            line(hot ? "hot" : "settle", name, UHN_FLOAT64, status, states, STATES * n);
        }
    if (dense) {
        status = uhn_dense_energies(dense, start, STATES, NULL, out, NULL);
        line("energies", name, UHN_FLOAT64, status, out, STATES * sizeof *out);
        status = uhn_dense_differences(dense, start, STATES, NULL, out, NULL);
        line("differences", name, UHN_FLOAT64, status, out, STATES * n * sizeof *out);
    }
    uhn_dense_free(dense);
    free(patterns), free(start), free(states), free(out);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--available")) {
        for (const char *p = uhn_cpu_available(); *p; p++)
            if (*p == ',') putchar('\n');
            else if (*p != ' ') putchar(*p);
        putchar('\n');
        return 0;
    }
    fprintf(stderr, "path %s of %s\n", uhn_cpu_path(), uhn_cpu_available());
    for (int dtype = 0; dtype < 2; dtype++) {
        /* Every pair of rows on a few tiles, then each row on more than two blocks. */
        for (int i = 0; i < (int)UHN_N_SIMILARITIES; i++)
            for (int j = 0; j < (int)UHN_N_SEPARATIONS; j++) {
                workload w = workload_of((uhn_similarity)i, (uhn_separation)j, 13);
                run(&w, (uhn_dtype)dtype, 261, 13, 5, 3);
            }
        workload *list;
        size_t n = all_workloads(&list, 29);
        for (size_t i = 0; i < n; i++)
            run(&list[i], (uhn_dtype)dtype, MAX_ROWS, 29, i % 3 == 0 ? 11 : 0, N_QUERIES);
        /* More features than one feature block, few rows. */
        workload wide = workload_of(UHN_SIM_dot, UHN_SEP_softmax, 600);
        snprintf(wide.name, sizeof wide.name, "wide.dot.softmax");
        run(&wide, (uhn_dtype)dtype, 300, 600, 0, N_QUERIES);
        wide = workload_of(UHN_SIM_kl, UHN_SEP_softmax, 600);
        snprintf(wide.name, sizeof wide.name, "wide.kl.softmax");
        run(&wide, (uhn_dtype)dtype, 300, 600, 0, N_QUERIES);
        free(list);
        run_attention((uhn_dtype)dtype, 1500, 24, 20);
    }
    run_landscape(9);
    run_landscape(14);
    run_network(60, 7);
    run_network(301, 150);
    run_dense(UHN_POLYNOMIAL, 3, 60, 50);
    run_dense(UHN_RECTIFIED_POLYNOMIAL, 2.5, 90, 40);
    run_dense(UHN_RECTIFIED_POLYNOMIAL, 40, 70, 1100);
    run_dense(UHN_POLYNOMIAL, 512, 200, 33);
    run_dense(UHN_EXPONENTIAL, 0, 130, 300);
    return 0;
}
