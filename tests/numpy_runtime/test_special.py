"""Functions that NumPy lacks equal those of Python's own library."""

import math
from statistics import NormalDist

import numpy as np

from keras_seq.numpy_runtime.special import erf, ndtri


def test_erf_and_ndtri():
    x = np.concatenate([np.linspace(-10, 10, 2001), [-0.0, 1.0, -1.0, 1e3, -1e3]])
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x], rtol=1e-13, atol=0)
    p = np.concatenate([np.linspace(0.001, 0.999, 999), [1e-300, 1e-12, 1 - 1e-12]])
    expected = [NormalDist().inv_cdf(v) for v in p]
    np.testing.assert_allclose(ndtri(p), expected, rtol=1e-13, atol=1e-15)
    edges = ndtri(np.array([0.0, 1.0, -0.1, 1.1, np.nan]))
    np.testing.assert_array_equal(edges, [-np.inf, np.inf, np.nan, np.nan, np.nan])
