"""Impression data: lists that were shown, with what was clicked; readers, metrics, and the submission file of MIND."""
