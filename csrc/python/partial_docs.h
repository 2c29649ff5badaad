/*
 * partial_docs.h - the docstrings of uhn.Partial, in numpydoc's form.
 *
 * The first line of each is the signature that inspect.signature reads. They are written as
 * they are read, hence left alone by the formatter.
 */
#ifndef UHNPY_PARTIAL_DOCS_H
#define UHNPY_PARTIAL_DOCS_H

/* clang-format off */

PyDoc_STRVAR(finish_doc,
"finish($self, *, out=None)\n--\n\n"
"The answer of the patterns this partial holds.\n\n"
"Parameters\n"
"----------\n"
"out : ndarray, optional\n"
"    Where the result goes: exact dtype and shape, C-contiguous.\n\n"
"Returns\n"
"-------\n"
"ndarray, shape (n_queries, n_values), or (n_values,) if it came of a 1-D query\n\n"
"Raises\n"
"------\n"
"ValueError\n"
"    If no pattern can answer a query, or the result overflows.");

PyDoc_STRVAR(reduce_doc,
"__reduce_ex__($self, protocol, /)\n--\n\n"
"For pickle: the wire form, of this machine's byte order. With protocol 5 it may travel out "
"of\n"
"band.");

PyDoc_STRVAR(partial_doc,
"What queries have retrieved so far from some of the patterns.\n\n"
"Made by `Memory.partial` and `merge`; merging is associative, and neither the order nor the\n"
"places of the cuts change a bit of what `finish` returns. A Partial is immutable and can be\n"
"pickled: that is how it travels from one process or machine to another.");

/* clang-format on */

#endif
