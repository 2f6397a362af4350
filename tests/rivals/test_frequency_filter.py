"""The filter of BSARec against a discrete Fourier transform written out."""

import cmath

import numpy as np
import pytest
import torch

from benchmarks.accuracy.rivals.attention import Places
from benchmarks.accuracy.rivals.frequency import FrequencyFilter, low_pass

TOLERANCE = 1e-11


def smoothed(signal: np.ndarray, c: int) -> np.ndarray:
    """F^-1 of the frequencies within c // 2 of zero, one complex sum at a time. signal: (n,)"""
    n = len(signal)
    spectrum = [sum(signal[t] * cmath.exp(-2j * cmath.pi * k * t / n) for t in range(n)) for k in range(n)]
    kept = [value if min(k, n - k) <= c // 2 else 0.0 for k, value in enumerate(spectrum)]
    back = [sum(kept[k] * cmath.exp(2j * cmath.pi * k * t / n) for k in range(n)) / n for t in range(n)]
    return np.array([value.real for value in back])


@pytest.mark.parametrize("n", [1, 2, 5, 6, 50])
@pytest.mark.parametrize("c", [1, 3, 5, 9])
def test_projection_is_the_low_part_of_the_transform(n: int, c: int) -> None:
    signal = np.random.default_rng(n).standard_normal(n)
    assert low_pass(n, c // 2 + 1) @ signal == pytest.approx(smoothed(signal, c), abs=TOLERANCE)
    spectrum = np.fft.rfft(signal)
    spectrum[c // 2 + 1 :] = 0  # as the authors' code does it
    assert low_pass(n, c // 2 + 1) @ signal == pytest.approx(np.fft.irfft(spectrum, n), abs=TOLERANCE)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("filter_length", ["padded", "own"])
def test_layer_is_the_articles_equation(filter_length: str) -> None:
    longest, width, d, c = 10, 7, 3, 3
    layer = FrequencyFilter(d, longest, c, filter_length)  # type: ignore[arg-type]
    x = torch.randn(4, width, d)
    lengths = [7, 4, 1, 2]
    real = torch.tensor([[place >= width - n for place in range(width)] for n in lengths])
    found = layer(x, Places.of(real, x.dtype), width).detach().numpy()
    beta = layer.beta.detach().numpy()
    for row, n in enumerate(lengths):
        for channel in range(d):
            signal = x[row, width - n :, channel].numpy()
            whole = np.concatenate([np.zeros(longest - n), signal]) if filter_length == "padded" else signal
            low = smoothed(whole, c)[len(whole) - n :]
            expected = low + beta[channel] ** 2 * (signal - low)
            assert found[row, width - n :, channel] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.usefixtures("doubles")
def test_all_frequencies_pass_everything() -> None:
    layer = FrequencyFilter(2, 6, cutoff=99, filter_length="padded")
    x = torch.randn(1, 6, 2)
    found = layer(x, Places.of(torch.ones(1, 6, dtype=torch.bool), x.dtype), 6)
    assert torch.allclose(found, x, rtol=0, atol=TOLERANCE)
