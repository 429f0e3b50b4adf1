"""Functions of mathematics that NumPy lacks, over whole arrays, in float64."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Cody's rational approximations as in Cephes (Moshier 1984): `erf` within one, and
# `erfc` from one on. Highest power first.
_ERF = (
    (
        9.60497373987051638749e0,
        9.00260197203842689217e1,
        2.23200534594684319226e3,
        7.00332514112805075473e3,
        5.55923013010394962768e4,
    ),
    (
        1.0,
        3.35617141647503099647e1,
        5.21357949780152679795e2,
        4.59432382970980127987e3,
        2.26290000613890934246e4,
        4.92673942608635921086e4,
    ),
)
_ERFC = (
    (
        2.46196981473530512524e-10,
        5.64189564831068821977e-1,
        7.46321056442269912687e0,
        4.86371970985681366614e1,
        1.96520832956077098242e2,
        5.26445194995477358631e2,
        9.34528527171957607540e2,
        1.02755188689515710272e3,
        5.57535335369399327526e2,
    ),
    (
        1.0,
        1.32281951154744992508e1,
        8.67072140885989742329e1,
        3.54937778887819891062e2,
        9.75708501743205489753e2,
        1.82390916687909736289e3,
        2.24633760818710981792e3,
        1.65666309194161350182e3,
        5.57535340817727675546e2,
    ),
)
# Wichura's algorithm AS 241 (1988), PPND16: near the middle, in the tails, far out.
_MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
_FAR = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Any:
    above, below = coefficients
    return np.polyval(above, x) / np.polyval(below, x)


def erf(x: Any) -> Array:
    """The error function; float64, to 1e-15."""
    x = np.asarray(x, np.float64)
    size = np.minimum(np.abs(x), 8.0)  # where it is 1 and the powers are still finite
    inner = np.minimum(size, 1.0)
    outer = np.maximum(size, 1.0)
    beyond = 1.0 - np.exp(-(outer**2)) * _ratio(_ERFC, outer)
    return np.copysign(np.where(size < 1.0, inner * _ratio(_ERF, inner**2), beyond), x)


def ndtri(shares: Any) -> Array:
    """The quantiles of a normal distribution: float64, to 1e-15; ±inf at 0 and 1.

    Reference:
        Wichura, 1988, Algorithm AS 241: The Percentage Points of the Normal
        Distribution. Applied Statistics.
    """
    p = np.asarray(shares, np.float64)
    q = p - 0.5
    near = np.abs(q) <= 0.425
    middle = np.where(near, q, 0.0)
    least = np.where(near | ~((p >= 0) & (p <= 1)), 0.25, np.minimum(p, 1.0 - p))
    with np.errstate(divide="ignore"):
        r = np.sqrt(-np.log(least))
    away = np.where(r <= 5.0, _ratio(_TAIL, np.minimum(r, 5.0) - 1.6), np.nan)
    far = np.minimum(np.maximum(r, 5.0), 40.0)
    away = np.where(r <= 5.0, away, _ratio(_FAR, far - 5.0))
    away = np.where(least > 0.0, away, np.inf)
    found = np.where(
        near, middle * _ratio(_MIDDLE, 0.180625 - middle**2), np.copysign(away, q)
    )
    return np.where((p >= 0) & (p <= 1), found, np.nan)
