"""What an item's text contributes to the model: its semantic embedding, made small."""

import numpy as np
from numpy.typing import NDArray


def content_features(embeddings: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Principal components of the semantic embeddings, of unit mean square norm.

    embeddings: (n_items, e)
    size:       components to keep; 0 keeps the embeddings as they are, centred
    returns     (n_items, min(size, e, n_items)) float32
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(0, dtype=np.float64)
    if size and size < centred.shape[1]:
        _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
        vectors = vectors[:, ::-1][:, :size]
        signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
        centred = centred @ (vectors * signs)  # the sign of a component is free: fixed, so that runs agree
    scale = np.sqrt(np.square(centred).sum(1).mean())
    return (centred / max(scale, 1e-12)).astype(np.float32)
