/*
 * threads.h - a parallel loop over plain pthreads, made per call (layer 0).
 *
 * May include: platform.h.
 *
 * Creating a thread costs what waking a sleeping one does, and leaves nothing behind: no pool to
 * shut down, nothing that a fork can break. Tasks are handed out by an atomic counter.
 */
#ifndef UHN_THREADS_H
#define UHN_THREADS_H

#include "platform.h"

#include <stdatomic.h>

typedef struct uhn_loop uhn_loop;

/* Runs one task; `worker` is this thread's number, 0 for the caller. Returns a status: the first that
 * is not UHN_OK ends the loop. */
typedef uhn_status (*uhn_task_fn)(void *context, size_t task, int worker, uhn_loop *loop);

/* Runs tasks 0 .. n_tasks - 1 on at most n_threads threads, the caller's among them; with fewer
 * threads to be had, on those. Returns the first status that is not UHN_OK. */
uhn_status uhn_parallel_for(size_t n_tasks, int n_threads, const uhn_run *run, uhn_task_fn task,
                            void *context);

/* To be called often inside a task: UHN_STOPPED when the loop is to end. Only the caller's thread asks
 * the host. */
uhn_status uhn_loop_poll(uhn_loop *loop, int worker);

/* Threads that `run` allows. */
int uhn_run_threads(const uhn_run *run);

#endif
