/*
 * test_threads.c - readers while a writer stores: the old answer or the new one, never a
 * mixture.
 *
 * The answer after each store is worked out beforehand, alone. Readers then look up what they
 * get in that list; what they see may only move forward. Run under ThreadSanitizer this is also
 * the proof that nothing is shared without an order.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

enum { D = 9, B = 3, FIRST = 1000, STORE = 37, N_STORES = 60, N_READERS = 4 };

static float patterns[(FIRST + N_STORES * STORE) * D], queries[B * D];
static float expected[N_STORES + 1][B * D];
static uhn_memory *memory;
static uhn_equation equation;
static atomic_int done, gate;
static atomic_ulong n_reads;
static atomic_int n_releases;

static void release(void *owner) {
    (void)owner;
    atomic_fetch_add(&n_releases, 1);
}

static uhn_rows rows_of(int store) {
    size_t start = store ? FIRST + (size_t)(store - 1) * STORE : 0;
    return (uhn_rows){.patterns = patterns + start * D,
                      .n_rows = store ? STORE : FIRST,
                      .borrow = store % 2,
                      .release = release};
}

static void wait_for_all(int n) {
    atomic_fetch_add(&gate, 1);
    while (atomic_load(&gate) < n) usleep(50);
}

/* Which of the answers this is, from `at_least` on; -1 if none. */
static int which(const float *answer, int at_least) {
    for (int i = at_least; i <= N_STORES; i++)
        if (!memcmp(answer, expected[i], sizeof expected[i])) return i;
    return -1;
}

static void *reader(void *argument) {
    const int me = *(int *)argument;
    int last = 0;
    float answer[B * D];
    uhn_run run = {.n_threads = 1 + me % 3};

    wait_for_all(N_READERS + 1);
    for (bool more = true; more;) {
        more = !atomic_load(&done);
        size_t before = uhn_memory_n_patterns(memory);
        if (me == 1) { /* by way of a copy */
            uhn_memory *copy = NULL;
            CHECK_OK(uhn_memory_copy(memory, &copy));
            CHECK_OK(uhn_retrieve(copy, &equation, queries, B, &run, answer, NULL, NULL));
            uhn_memory_free(copy);
        } else if (me == 2) { /* by way of a partial of the rows there are */
            uhn_memory *copy = NULL;
            uhn_partial *partial = NULL;
            CHECK_OK(uhn_memory_copy(memory, &copy));
            CHECK_OK(uhn_partial_new(copy, &equation, queries, B, 0,
                                     uhn_memory_n_patterns(copy), &run, &partial, NULL));
            uhn_memory_free(copy);
            CHECK_OK(uhn_partial_finish(partial, answer, NULL, NULL));
            uhn_partial_free(partial);
        } else {
            CHECK_OK(uhn_retrieve(memory, &equation, queries, B, &run, answer, NULL, NULL));
        }
        int now = which(answer, last);
        CHECK(now >= 0, "reader %d: an answer that never was, or went back, after %d", me,
              last);
        CHECK(now < 0 || (size_t)FIRST + (size_t)now * STORE >= before, "reader %d: old rows",
              me);
        last = now < 0 ? last : now;
        atomic_fetch_add(&n_reads, 1);
    }
    CHECK(last == N_STORES, "reader %d ended at %d", me, last);
    return NULL;
}

static void *writer(void *argument) {
    (void)argument;
    wait_for_all(N_READERS + 1);
    for (int i = 1; i <= N_STORES; i++) {
        uhn_rows rows = rows_of(i);
        CHECK_OK(uhn_memory_store(memory, &rows, NULL));
        usleep(500);
    }
    atomic_store(&done, 1);
    return NULL;
}

static void test_readers_and_writer(void) {
    pthread_t threads[N_READERS + 1];
    int numbers[N_READERS];
    uhn_memory *alone = NULL;

    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &alone));
    for (int i = 0; i <= N_STORES; i++) {
        uhn_rows rows = rows_of(i);
        rows.borrow = false;
        CHECK_OK(uhn_memory_store(alone, &rows, NULL));
        CHECK_OK(uhn_retrieve(alone, &equation, queries, B, NULL, expected[i], NULL, NULL));
        if (i) CHECK(which(expected[i], 0) == i, "store %d changes nothing", i);
    }
    uhn_memory_free(alone);
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &memory));
    uhn_rows rows = rows_of(0);
    CHECK_OK(uhn_memory_store(memory, &rows, NULL));
    for (int i = 0; i < N_READERS; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, reader, &numbers[i]);
    }
    pthread_create(&threads[N_READERS], NULL, writer, NULL);
    for (int i = 0; i <= N_READERS; i++) pthread_join(threads[i], NULL);
    CHECK(uhn_memory_n_patterns(memory) == FIRST + N_STORES * STORE, "rows");
    uhn_memory_free(memory);
    CHECK(atomic_load(&n_releases) == N_STORES / 2, "%d releases", atomic_load(&n_releases));
}

/* Two writers: each store is whole, whichever came first. */
static void *second_writer(void *argument) {
    const float mark = *(float *)argument;
    float rows[5 * D];
    for (int i = 0; i < 5 * D; i++) rows[i] = mark;
    for (int i = 0; i < 200; i++)
        CHECK_OK(uhn_memory_store(memory, &(uhn_rows){.patterns = rows, .n_rows = 5}, NULL));
    return NULL;
}

static void test_two_writers(void) {
    pthread_t threads[2];
    float marks[2] = {1, 2}, row[5 * D];
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &memory));
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, second_writer, &marks[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK(uhn_memory_n_patterns(memory) == 2000, "%zu rows", uhn_memory_n_patterns(memory));
    for (size_t i = 0; i < 2000; i += 5) {
        CHECK_OK(uhn_memory_read(memory, i, 5, row, NULL, NULL));
        for (int j = 1; j < 5 * D; j++)
            CHECK(row[j] == row[0], "a store was torn at row %zu", i);
    }
    uhn_memory_free(memory);
}

/* Many callers at once, the number of threads changing under them; the answers must not. */
static void *caller(void *argument) {
    const int me = *(int *)argument;
    float answer[B * D];
    for (int i = 0; i < 40; i++) {
        uhn_run run = {.n_threads = me % 2 ? 0 : 1 + i % 5};
        if (me == 0) CHECK_OK(uhn_set_num_threads(1 + i % 4));
        CHECK_OK(uhn_retrieve(memory, &equation, queries, B, &run, answer, NULL, NULL));
        CHECK(!memcmp(answer, expected[0], sizeof answer), "caller %d", me);
    }
    return NULL;
}

static void test_callers(void) {
    enum { CALLERS = 6 };
    pthread_t threads[CALLERS];
    int numbers[CALLERS];
    uhn_rows rows = {.patterns = patterns, .n_rows = FIRST + N_STORES * STORE, .borrow = true};
    CHECK_OK(uhn_memory_new(UHN_FLOAT32, D, 0, 0, &memory));
    CHECK_OK(uhn_memory_store(memory, &rows, NULL));
    CHECK_OK(uhn_retrieve(memory, &equation, queries, B, NULL, expected[0], NULL, NULL));
    for (int i = 0; i < CALLERS; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, caller, &numbers[i]);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    CHECK_OK(uhn_set_num_threads(2));
}

/* A child of fork has no threads but the one that forked; retrieval must work there all the
 * same. */
static void test_fork(void) {
    float answer[B * D];
    uhn_run run = {.n_threads = 3};
    for (int i = 0; i < 30; i++) {
        CHECK_OK(uhn_retrieve(memory, &equation, queries, B, &run, answer, NULL, NULL));
        pid_t child = fork();
        if (child == 0) {
            alarm(20); /* a child that hangs is a failure, not a wait for ever */
            memset(answer, 0, sizeof answer);
            uhn_status status =
                uhn_retrieve(memory, &equation, queries, B, &run, answer, NULL, NULL);
            _exit(status != UHN_OK || memcmp(answer, expected[0], sizeof answer) != 0);
        }
        int result = -1;
        waitpid(child, &result, 0);
        CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0, "child ended with %d", result);
    }
    CHECK_OK(uhn_retrieve(memory, &equation, queries, B, &run, answer, NULL, NULL));
    CHECK(!memcmp(answer, expected[0], sizeof answer), "the parent after fork");
}

int main(void) {
    rng r = {.state = 2};
    fill(UHN_FLOAT32, patterns, sizeof patterns / sizeof *patterns, &r, FILL_SIGNED);
    fill(UHN_FLOAT32, queries, B * D, &r, FILL_SIGNED);
    equation = uhn_equation_default();
    test_readers_and_writer();
    test_two_writers();
    test_callers();
    if (!UNDER_TSAN) /* whose runtime does not follow a multi-threaded process into its child */
        test_fork();
    uhn_memory_free(memory);
    printf("%lu reads beside %d stores\n", atomic_load(&n_reads), N_STORES);
    return check_done();
}
