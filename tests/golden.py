"""Golden vectors: numbers worked out once, to the digits printed, from the formulas alone."""

from __future__ import annotations

import numpy as np

PATTERNS = np.array([[0.9, 0.1, 0.4, 0.6], [0.2, 0.8, 0.5, 0.5], [0.7, 0.3, 0.1, 0.9]])
QUERY = np.array([0.8, 0.2, 0.4, 0.5])

# Raw numbers, one per pattern: similarities as they are, distances positive.
RAW = {
    "dot": [1.2, 0.77, 1.11],
    "cosine": [0.992923062, 0.6789479362, 0.8985571659],
    "normalized_dot": [0.3157894737, 0.2026315789, 0.2921052632],
    "euclidean": [0.1732050808, 0.8544003745, 0.5196152423],
    "sqeuclidean": [0.03, 0.73, 0.27],
    "manhattan": [0.3, 1.3, 0.9],
    "chebyshev": [0.1, 0.6, 0.4],
    "kl": [0.0217481797, 0.4203809018, 0.1579797656],
    "reverse_kl": [0.0266839413, 0.4420928713, 0.2020072441],
    "jensen_shannon": [0.0059379805, 0.0999477302, 0.0425849412],
}

# p, r, KL(p, r), KL(r, p), Jensen-Shannon.
KL_2 = (
    [0.1, 0.2, 0.7],
    [0.3, 0.3, 0.4],
    0.20077680106635193,
    0.22737690385871306,
    0.051912259238103414,
)

# Dot scores divided by their sum, then separated, then divided by the sum of the weights.
SEPARATED = [
    ("identity", "identity", {}, [0.3896103896, 0.25, 0.3603896104]),
    ("sqrt", "sqrt", {}, [0.361950308, 0.2899370328, 0.3481126592]),
    ("square", "polynomial", {"degree": 2}, [0.4410413476, 0.1815926493, 0.3773660031]),
    ("cube", "polynomial", {"degree": 3}, [0.4864640259, 0.1285225007, 0.3850134735]),
    ("quartic", "polynomial", {"degree": 4}, [0.5258672065, 0.0891484928, 0.3849843006]),
    ("ten", "polynomial", {"degree": 10}, [0.6800799564, 0.0080473848, 0.3118726588]),
    ("softmax 10", "softmax", {"beta": 10}, [0.5014610105, 0.1241414899, 0.3743974997]),
    ("softmax 1000", "softmax", {"beta": 1000}, [1, 0, 0]),
]

# Similarity, beta, softmax weights of the scores as they are.
SEPARATED_RAW = [
    ("dot", 10, [0.7041568115, 0.0095543933, 0.2862887953]),
    ("sqeuclidean", 10, [0.9160614411, 0.0008353399, 0.083103219]),
    ("manhattan", 10, [0.9974822032, 0.0000452856, 0.0024725112]),
]
# What the first of them retrieves.
SEPARATED_RAW_Z = [0.8360541657, 0.1639458343, 0.3150688007, 0.6849311993]

# Scores, alpha, weights.
_CASE_1, _CASE_2, _CASE_3 = [1, 0.8, 0.1], [0.5, 0.2, 0.1, -1], [2, 0, 0]
ENTMAX = [
    (_CASE_1, 1, [0.4493775286, 0.3679192024, 0.1827032689]),
    (_CASE_1, 1.25, [0.4841797195, 0.3781189791, 0.1377013014]),
    (_CASE_1, 1.5, [0.5292478943, 0.3937490429, 0.0770030628]),
    (_CASE_1, 2, [0.6, 0.4, 0]),
    (_CASE_2, 1.5, [0.4729698799, 0.2891514629, 0.2378786572, 0]),
    (_CASE_2, 2, [0.5666666667, 0.2666666667, 0.1666666667, 0]),
    (_CASE_3, 1.5, [1, 0, 0]),
    (_CASE_3, 2, [1, 0, 0]),
    ([0.7] * 4, 1.5, [0.25] * 4),
    ([0.7] * 4, 2, [0.25] * 4),
    ([0.7] * 4, 1, [0.25] * 4),
]
