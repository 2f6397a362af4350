"""From the codes of a catalogue to ranked items: the trie, beam and exact search, fusion of two lists.

A model enters as a ``Scorer`` (log-probabilities of the children of trie nodes); nothing here knows users,
data sets or networks. Four items with codes of two levels, and a model that always says the same:

>>> import torch
>>> from indexing import TableScorer, Trie, beam_search, exact_search, fuse, score_items
>>> trie = Trie.from_codes(torch.tensor([[0, 0], [0, 2], [1, 1], [1, 2]]))  # row i is the code of item i
>>> trie.n_nodes, trie.children(1, torch.tensor([0])).tolist()  # the first node has codes 0 and 2
((1, 2, 4), [[0, -1, 1]])
>>> first = torch.tensor([[[0.6, 0.4]]])  # (rows, nodes, codes)
>>> second = torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.9, 0.1]]])
>>> model = TableScorer([first.log(), second.log()])
>>> beam_search(model, trie, beams=2, k=3).items  # 0.36, then 0.30 twice
tensor([[2, 0, 1]])
>>> other = TableScorer.from_logits([torch.zeros(1, 1, 2), torch.zeros(1, 2, 3)], trie)
>>> lists = [exact_search(m, trie, k=2, exclude=torch.tensor([[0]])) for m in (model, other)]
>>> scores = [lambda items, m=m: score_items(m, trie, items) for m in (model, other)]
>>> fused = fuse(*lists, "sum", k=2, score_a=scores[0], score_b=scores[1])
>>> fused.items, fused.scores.exp()  # 0.36 * 0.25, 0.30 * 0.25
(tensor([[2, 1]]), tensor([[0.0900, 0.0750]]))
"""

from indexing.beam import beam_search
from indexing.exact import exact_scores, exact_search
from indexing.fusion import Fused, FusionMethod, fuse, peakedness
from indexing.ranking import Ranked
from indexing.scorer import Scorer, TableScorer
from indexing.trie import Trie
from indexing.walk import score_items

__all__ = [
    "Fused",
    "FusionMethod",
    "Ranked",
    "Scorer",
    "TableScorer",
    "Trie",
    "beam_search",
    "exact_scores",
    "exact_search",
    "fuse",
    "peakedness",
    "score_items",
]
