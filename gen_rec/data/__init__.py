"""From raw interactions to a filtered, ordered and split data set: sources, ``prepare`` and ``Dataset``."""
