/*
 * pages.c - reading ahead of a pass over a mapped file.
 *
 * A store that memory can keep is read fastest when a pass asks for what it will need. One that
 * memory cannot keep is not: pages that are asked for come one by one, those that faults read in
 * large pieces, and a system that has to make room for them gives up large pieces sooner. Whether
 * the first page is still there tells the two apart.
 */
#define _DEFAULT_SOURCE
#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

enum {
    STEP = 4 << 20,  /* bytes that are asked for at once */
    AHEAD = 16 << 20 /* bytes between what is used and what is asked for */
};

/* Whether a page is in memory; true where the system does not say. */
static bool is_there(uintptr_t address, size_t page) {
    unsigned char there = 1;
    return mincore((void *)(address / page * page), page, &there) != 0 || there & 1;
}

void uhn_pages_ahead(const void *array, size_t from, size_t to, size_t end) {
    /* Steps are counted from the array's first byte, so that nothing need be remembered. */
    if (from / STEP == to / STEP) return;
    const size_t low = (from / STEP + 1) * STEP + AHEAD;
    const size_t high = UHN_MIN((to / STEP + 1) * STEP + AHEAD, end);
    if (low >= high) return;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t at = (uintptr_t)array;
    /* These questions cost a thousandth of a pass; asking for pages that are there, some hundredths. */
    if (is_there(at + high - 1, page) || !is_there(at, page)) return;
    const uintptr_t start = (at + low) / page * page;
    madvise((void *)start, at + high - start, MADV_WILLNEED);
}

#else

void uhn_pages_ahead(const void *array, size_t from, size_t to, size_t end) {
    (void)array, (void)from, (void)to, (void)end;
}

#endif
