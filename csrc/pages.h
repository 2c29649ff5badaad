/*
 * pages.h - pages of arrays that lie in files (layer 0).
 *
 * May include: platform.h.
 *
 * A mapped file is read by the faults of whoever touches it. Faults read ahead a little; a pass that
 * knows what it will read next asks for it early enough that the disk works while the CPU does.
 */
#ifndef UHN_PAGES_H
#define UHN_PAGES_H

#include "platform.h"

/* To be told that bytes [from, to) of an array are about to be used, in ascending order and up to
 * `end`: asks the system for bytes some way behind them, if they are not in memory and memory can keep
 * the array. Arrays that are in memory, mapped or not, cost a question every few megabytes. */
void uhn_pages_ahead(const void *array, size_t from, size_t to, size_t end);

#endif
