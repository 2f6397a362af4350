"""gen_rec: a generative recommender that writes two semantic IDs for what a user wants next.

>>> from gen_rec import Recommender
>>> recommender = Recommender.from_pretrained("runs/beauty")        # or a name on the hub
>>> recommender.recommend([["B004756YJA", "B004ZT0SSG"]], k=10)     # external ids in, a DataFrame out
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen_rec.recommender import Recommender

__all__ = ["Recommender"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for: ``import gen_rec.errors`` need not load torch."""
    if name == "Recommender":
        from gen_rec.recommender import Recommender

        return Recommender
    raise AttributeError(f"module 'gen_rec' has no attribute {name!r}")
