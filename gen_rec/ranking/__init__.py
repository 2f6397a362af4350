"""The last ranking: candidates, features of many kinds, a small learnt blend."""
