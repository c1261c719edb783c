"""A classifier of handwritten digits, trained when it is first imported."""

import numpy
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

DIGITS = load_digits()
MODEL = RandomForestClassifier(n_estimators=200, random_state=1, n_jobs=1)
MODEL.fit(DIGITS.data[:1500], DIGITS.target[:1500])
# Something whose memory can be seen: tables that only lie there, as embeddings do.
TABLE = numpy.arange(8 << 20, dtype="f8")
