"""Ranked lists in, figures out: the benchmark protocol, vectorised over users."""

from gen_rec.evaluation.bootstrap import bootstrap_intervals, paired_bootstrap
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.evaluation.evaluator import Evaluation, Evaluator, MethodEvaluation
from gen_rec.evaluation.filtering import filter_seen
from gen_rec.evaluation.lists import LIST_SCHEMA, lists_to_arrays, read_ranked_lists, write_per_user
from gen_rec.evaluation.metrics import CUTS, MISS, RankedLists, retrieval_metrics, target_ranks
from gen_rec.evaluation.result import (
    Meter,
    check_result,
    make_result,
    make_results,
    read_folder,
    read_results,
    write_result,
)

__all__ = [
    "CUTS",
    "LIST_SCHEMA",
    "MISS",
    "Evaluation",
    "EvaluationConfig",
    "Evaluator",
    "Meter",
    "MethodEvaluation",
    "RankedLists",
    "bootstrap_intervals",
    "check_result",
    "filter_seen",
    "lists_to_arrays",
    "make_result",
    "make_results",
    "paired_bootstrap",
    "read_folder",
    "read_ranked_lists",
    "read_results",
    "retrieval_metrics",
    "target_ranks",
    "write_per_user",
    "write_result",
]
