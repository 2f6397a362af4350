"""Content features against the definition of principal components."""

import numpy as np
import pytest

from gen_rec.models.content import content_features


def embeddings(n: int = 50, e: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, e)) @ rng.normal(size=(e, e)) + 3).astype(np.float32)


@pytest.mark.parametrize("size", [0, 1, 3, 8, 20])
def test_centred_and_of_unit_mean_square_norm(size: int):
    features = content_features(embeddings(), size)
    assert features.shape == (50, size if 0 < size < 8 else 8)
    assert features.dtype == np.float32
    assert np.square(features.astype(float)).sum(1).mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)


def test_components_are_those_of_the_singular_value_decomposition():
    x = embeddings().astype(float)
    x -= x.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    expected = u[:, :3] * s[:3]
    expected /= np.sqrt(np.square(expected).sum(1).mean())
    features = content_features(embeddings(), 3)
    signs = np.sign((features * expected).sum(0))
    np.testing.assert_allclose(features, expected * signs, atol=1e-5)


def test_size_zero_keeps_the_geometry():
    x = embeddings()
    features = content_features(x, 0)
    centred = x - x.mean(0)
    ratio = features / centred
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_the_same_input_gives_the_same_features_and_signs_do_not_depend_on_the_order_of_items():
    x = embeddings()
    order = np.random.default_rng(1).permutation(len(x))
    assert np.array_equal(content_features(x, 4), content_features(x.copy(), 4))
    np.testing.assert_allclose(content_features(x[order], 4), content_features(x, 4)[order], atol=1e-5)


def test_fewer_items_than_components_and_equal_items():
    few = content_features(embeddings(n=3), 5)
    assert few.shape == (3, 5)
    np.testing.assert_allclose(few[:, 2:], 0, atol=1e-5)  # three points, centred, lie in a plane
    assert not content_features(np.ones((4, 6), dtype=np.float32), 2).any()
