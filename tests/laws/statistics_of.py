"""P-values of the laws that a noisy sum must follow. Pure functions; all are two-sided and hold for honest numbers."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


def squares_p(squares: float, mean: float, variance: float) -> float:
    """P-value of a sum of squares: a multiple of a chi-square of the same mean and variance (Satterthwaite)."""
    ratio = variance / (2.0 * mean)
    return variance_p(squares / ratio, mean / ratio)


def normal_p(z: float) -> float:
    """P-value of a standard normal."""
    return float(2.0 * stats.norm.sf(abs(z)))


def variance_p(squares: float, degrees: float) -> float:
    """P-value of a sum of squares of `degrees` standard normals; small where noise is missing or too much."""
    lower, upper = stats.chi2.cdf(squares, degrees), stats.chi2.sf(squares, degrees)
    return float(min(1.0, 2.0 * min(lower, upper)))


def correlation_p(a: Values, b: Values, degrees: float) -> float:
    """P-value of independence of two residuals (n,), each projected off up to n - degrees directions."""
    return normal_p(float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)) * np.sqrt(degrees))


def repetition_p(residual: Values) -> float:
    """P-value of independence of a residual's entries: its largest circular correlation with itself, shifted."""
    centred = residual - residual.mean()
    power = np.abs(np.fft.rfft(centred)) ** 2
    lags = np.fft.irfft(power, n=len(centred))
    shifts = lags[1 : len(centred) // 2] / lags[0]
    return min(1.0, len(shifts) * normal_p(float(np.abs(shifts).max()) * np.sqrt(len(centred))))


def shape_p(standard: Values) -> float:
    """P-value of standard normal entries (Kolmogorov-Smirnov)."""
    return float(stats.kstest(standard, "norm").pvalue)


def tails_p(residual: Values) -> float:
    """P-value of a normal's fourth moment: sees the tails of a sum of few bounded draws, which the shape hardly has."""
    kurtosis = float(np.mean(residual**4) / np.mean(residual**2) ** 2) - 3.0
    return normal_p(kurtosis * np.sqrt(len(residual) / 24.0))


def least(*p: float) -> float:
    """The least of several p-values, times their number (Bonferroni)."""
    return min(1.0, len(p) * min(p))
