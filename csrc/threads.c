/*
 * threads.c - the parallel loop, and how many threads it may use.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

enum { MAX_THREADS = 1024 };

struct uhn_loop {
    size_t n_tasks;
    atomic_size_t next;
    atomic_int status; /* of the loop so far */
    const uhn_run *run;
    uhn_task_fn task;
    void *context;
};

typedef struct worker {
    uhn_loop *loop;
    int number;
    pthread_t thread;
} worker;

static void loop_fail(uhn_loop *loop, uhn_status status) {
    int expected = UHN_OK;
    atomic_compare_exchange_strong(&loop->status, &expected, status);
}

uhn_status uhn_loop_poll(uhn_loop *loop, int number) {
    if (number == 0 && loop->run && loop->run->stop && loop->run->stop(loop->run->stop_context))
        loop_fail(loop, UHN_STOPPED);
    return atomic_load_explicit(&loop->status, memory_order_relaxed) == UHN_OK ? UHN_OK
                                                                               : UHN_STOPPED;
}

static void *work(void *argument) {
    const worker *self = argument;
    uhn_loop *loop = self->loop;
    while (atomic_load_explicit(&loop->status, memory_order_relaxed) == UHN_OK) {
        const size_t task = atomic_fetch_add(&loop->next, 1);
        if (task >= loop->n_tasks) break;
        const uhn_status status = loop->task(loop->context, task, self->number, loop);
        if (status != UHN_OK) loop_fail(loop, status);
    }
    return NULL;
}

uhn_status uhn_parallel_for(size_t n_tasks, int n_threads, const uhn_run *run, uhn_task_fn task,
                            void *context) {
    uhn_loop loop = {.n_tasks = n_tasks, .run = run, .task = task, .context = context};
    atomic_init(&loop.next, 0);
    atomic_init(&loop.status, UHN_OK);
    int n_helpers = (int)UHN_MIN((size_t)UHN_MAX(n_threads, 1), n_tasks) - 1;
    worker self = {.loop = &loop, .number = 0}, *helpers = NULL;
    if (n_helpers > 0) helpers = malloc((size_t)n_helpers * sizeof *helpers);
    int n_made = 0;
    for (; helpers && n_made < n_helpers; n_made++) {
        helpers[n_made] = (worker){.loop = &loop, .number = n_made + 1};
        if (pthread_create(&helpers[n_made].thread, NULL, work, &helpers[n_made]) != 0) break;
    }
    work(&self);
    for (int i = 0; i < n_made; i++) pthread_join(helpers[i].thread, NULL);
    free(helpers);
    return (uhn_status)atomic_load(&loop.status);
}

static atomic_int n_threads_set; /* 0: not set yet */

static int initial_threads(void) {
    const char *text = getenv("UHN_NUM_THREADS");
    if (text && *text) {
        char *end;
        const long n = strtol(text, &end, 10);
        if (*end == '\0' && n >= 1) return (int)UHN_MIN(n, (long)MAX_THREADS);
    }
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return UHN_MAX(CPU_COUNT(&set), 1);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return (int)UHN_MIN(UHN_MAX(n, 1L), (long)MAX_THREADS);
}

int uhn_num_threads(void) {
    int n = atomic_load(&n_threads_set);
    if (n) return n;
    /* Two threads that get here together find the same number. */
    n = initial_threads();
    int expected = 0;
    return atomic_compare_exchange_strong(&n_threads_set, &expected, n) ? n : expected;
}

uhn_status uhn_set_num_threads(int n) {
    if (n < 1 || n > MAX_THREADS) return UHN_BAD_PARAMETER;
    atomic_store(&n_threads_set, n);
    return UHN_OK;
}

int uhn_run_threads(const uhn_run *run) {
    return run && run->n_threads > 0 ? UHN_MIN(run->n_threads, MAX_THREADS) : uhn_num_threads();
}
