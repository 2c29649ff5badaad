/*
 * module_docs.h - the docstrings of the functions of uhn._core, in numpydoc's form.
 *
 * The first line of each is the signature that inspect.signature reads. They are written as
 * they are read, hence left alone by the formatter.
 */
#ifndef UHNPY_MODULE_DOCS_H
#define UHNPY_MODULE_DOCS_H

/* clang-format off */

PyDoc_STRVAR(retrieve_doc,
"retrieve($module, patterns, queries, values=None, *, n_steps=1, tol=None, out=None, "
"similarity='dot', separation='softmax', transform=None, eps=None, gamma=None, beta=None, "
"degree=None, k=None, alpha=None, theta=None, normalize=None, normalize_scores=False)\n--\n\n"
"Retrieve values for queries from patterns, without keeping a memory.\n\n"
"``z = P . sep(sim(M, q))``, arXiv 2202.04557.\n\n"
"Parameters\n"
"----------\n"
"patterns : array_like, shape (n_patterns, n_features) or (n_features,)\n"
"queries : array_like, shape (n_queries, n_features) or (n_features,)\n"
"values : array_like, shape (n_patterns, n_values), optional\n"
"    None: the patterns themselves.\n"
"n_steps, tol, out\n"
"    As for `Memory.retrieve`.\n"
"similarity, separation, transform, eps, gamma, beta, degree, k, alpha, theta, normalize, \
normalize_scores\n"
"    As for `Memory`.\n\n"
"Returns\n"
"-------\n"
"ndarray, shape (n_queries, n_values), or (n_values,) for a 1-D query\n\n"
"Raises\n"
"------\n"
"ValueError, TypeError\n"
"    As `Memory` and `Memory.retrieve`.");

PyDoc_STRVAR(similarity_doc,
"similarity($module, patterns, queries, similarity='dot', *, transform=None, eps=None, "
"gamma=None)\n--\n\n"
"The similarity of every pattern to every query; larger is more similar.\n\n"
"Parameters\n"
"----------\n"
"patterns : array_like, shape (n_patterns, n_features) or (n_features,)\n"
"queries : array_like, shape (n_queries, n_features) or (n_features,)\n"
"similarity, transform, eps, gamma\n"
"    As for `Memory`.\n\n"
"Returns\n"
"-------\n"
"ndarray, shape (n_queries, n_patterns), or (n_patterns,) for a 1-D query\n"
"    float32 if the patterns are, else float64.\n\n"
"Raises\n"
"------\n"
"ValueError, TypeError\n"
"    As `Memory` and `Memory.scores`.");

PyDoc_STRVAR(separate_doc,
"separate($module, scores, separation='softmax', *, beta=None, degree=None, k=None, "
"alpha=None, "
"theta=None, normalize=None, normalize_scores=False)\n--\n\n"
"Turn scores into weights.\n\n"
"Parameters\n"
"----------\n"
"scores : array_like, shape (n_queries, n_patterns) or (n_patterns,)\n"
"separation, beta, degree, k, alpha, theta, normalize, normalize_scores\n"
"    As for `Memory`.\n\n"
"Returns\n"
"-------\n"
"ndarray, of the shape of `scores`\n"
"    float32 if the scores are, else float64.\n\n"
"Raises\n"
"------\n"
"ValueError\n"
"    If a score is NaN or outside the domain of the separation, or all scores of a query are\n"
"    -inf.");

PyDoc_STRVAR(attention_doc,
"attention($module, queries, keys, values, *, beta=None, mask=None, out=None)\n--\n\n"
"Attention: one step of a memory whose patterns are the keys.\n\n"
"``softmax(beta queries . keys^T) . values``, Vaswani et al., arXiv 1706.03762; as "
"retrieval from\n"
"a modern Hopfield network, Ramsauer et al., arXiv 2008.02217.\n\n"
"Parameters\n"
"----------\n"
"queries : array_like, shape (..., L, E)\n"
"keys : array_like, shape (..., S, E)\n"
"values : array_like, shape (..., S, V)\n"
"    The leading axes broadcast.\n"
"beta : float, optional\n"
"    1 / sqrt(E) by default.\n"
"mask : array_like of bool, broadcastable to (..., L, S), optional\n"
"    True where a query may attend to a key.\n"
"out : ndarray, optional\n"
"    Where the result goes: exact dtype and shape, C-contiguous, apart from the inputs.\n\n"
"Returns\n"
"-------\n"
"ndarray, shape (..., L, V)\n"
"    float32 if all three arrays are, else float64. A query that may attend to nothing gets\n"
"    zeros.\n\n"
"Raises\n"
"------\n"
"ValueError\n"
"    If shapes do not fit or a number is not finite.\n"
"TypeError\n"
"    If an array is not of real numbers, or the mask is not boolean.");

PyDoc_STRVAR(merge_doc,
"merge($module, parts)\n--\n\n"
"One partial of several.\n\n"
"Parameters\n"
"----------\n"
"parts : iterable of Partial\n"
"    Of the same queries and equation, over different rows; in any order.\n\n"
"Returns\n"
"-------\n"
"Partial\n\n"
"Raises\n"
"------\n"
"ValueError\n"
"    If there is no part, two of them hold the same row, or they differ in queries, sizes or\n"
"    equation.\n"
"TypeError\n"
"    If a part is not a Partial.");

PyDoc_STRVAR(similarities_doc,
"similarities($module)\n--\n\n"
"The similarities by name, each with a line of documentation.\n\n"
"m is a pattern and q a query; a distance d enters as `transform` says.\n\n"
"Returns\n"
"-------\n"
"dict of str to str");

PyDoc_STRVAR(separations_doc,
"separations($module)\n--\n\n"
"The separations by name, each with a line of documentation.\n\n"
"s are the scores of one query and w its weights.\n\n"
"Returns\n"
"-------\n"
"dict of str to str");

PyDoc_STRVAR(cpu_info_doc,
"cpu_info($module)\n--\n\n"
"How this build computes.\n\n"
"Returns\n"
"-------\n"
"dict\n"
"    `path`, the kernels in use ('generic', 'avx2', 'avx512' or 'neon'; the environment "
"variable\n"
"    UHN_CPU chooses); `available`, a tuple of those that this machine can run; `n_threads`;\n"
"    `compiler`; `version`.");

PyDoc_STRVAR(set_num_threads_doc,
"set_num_threads($module, n)\n--\n\n"
"Set the number of threads that later calls may use.\n\n"
"Parameters\n"
"----------\n"
"n : int\n"
"    At least 1. The answer has the same bits for any number.\n\n"
"Raises\n"
"------\n"
"ValueError\n"
"    If n is out of bounds.\n\n"
"Notes\n"
"-----\n"
"At start it is the environment variable UHN_NUM_THREADS, else the number of CPUs this "
"process\n"
"may run on.");

PyDoc_STRVAR(get_num_threads_doc,
"get_num_threads($module)\n--\n\n"
"The number of threads a call may use.\n\n"
"Returns\n"
"-------\n"
"int");

/* clang-format on */

#endif
