"""Embeddings to codes: balanced hierarchical k-means, residual k-means, and what can be said about the
result.

Works on arrays and knows no user and no data set; usable alone.
"""

from tokenizer.codes import Codes
from tokenizer.config import TokenizerConfig
from tokenizer.fit import fit_codes
from tokenizer.plots import plot_report
from tokenizer.report import code_report, save_report

__all__ = ["Codes", "TokenizerConfig", "code_report", "fit_codes", "plot_report", "save_report"]
