"""What an item's text contributes to the model: its semantic embedding, made small."""

import numpy as np
from numpy.typing import NDArray


def content_features(embeddings: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Principal components of the semantic embeddings, of unit mean square norm.

    embeddings: (n_items, e)
    size:       components to keep
    returns     (n_items, size) float32; (n_items, e) where size is 0 or not below e, as they are but centred and scaled
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(0, dtype=np.float64)
    if size and size < centred.shape[1]:
        _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
        vectors = vectors[:, ::-1][:, :size]
        signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
        centred = centred @ (vectors * signs)  # the sign of a component is free: fixed, so that runs agree
    scale = np.sqrt(np.square(centred).sum(1).mean())
    return (centred / max(scale, 1e-12)).astype(np.float32)
