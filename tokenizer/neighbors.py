"""Exact nearest neighbours in chunks, on the CPU with torch or on a GPU with faiss."""

from types import ModuleType

import numpy as np
import torch

ENTRIES_AT_ONCE = 1 << 24
"""Entries of the distance matrix that are held at once."""


def nearest_neighbors(points: np.ndarray, k: int, device: str | torch.device = "cpu") -> np.ndarray:
    """The k nearest other points of every point, by squared Euclidean distance, nearest first.

    points: (n, d) float
    k:      cut to n - 1
    device: "cuda" uses faiss-gpu (the extra ``gpu``)
    returns (n, k) int64; a point is never its own neighbour

    Raises ImportError, naming the extra, when a GPU is asked for without faiss-gpu.
    """
    n = len(points)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((n, 0), dtype=np.int64)
    points = np.ascontiguousarray(points - points.mean(axis=0, dtype=np.float64), dtype=np.float32)
    if torch.device(device).type == "cuda":
        found = _search_gpu(_faiss_gpu(), points, k + 1)
    else:
        found = _search(torch.from_numpy(points), k + 1)
    other = found != np.arange(n)[:, None]
    other[other.all(axis=1), -1] = False  # lost itself among its duplicates: drop the farthest
    return found[other].reshape(n, k)


def _search(points: torch.Tensor, k: int) -> np.ndarray:
    lengths = points.square().sum(dim=1)
    found = np.empty((len(points), k), dtype=np.int64)
    step = max(1, ENTRIES_AT_ONCE // len(points))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        distance = torch.addmm(lengths[None, :], points[part], points.T, alpha=-2)  # less the row's own length
        found[part] = distance.topk(k, dim=1, largest=False).indices.numpy()
    return found


def _faiss_gpu() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "nearest neighbours on a GPU need faiss-gpu; install it with: pip install 'gen_rec[gpu]', "
            "or use device='cpu'"
        ) from error
    if not hasattr(faiss, "GpuIndexFlatL2"):
        raise ImportError(
            "the installed faiss has no GPU part; install it with: pip install 'gen_rec[gpu]', or use device='cpu'"
        )
    return faiss


def _search_gpu(faiss: ModuleType, points: np.ndarray, k: int) -> np.ndarray:
    index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), points.shape[1])
    index.add(points)
    return index.search(points, k)[1]
