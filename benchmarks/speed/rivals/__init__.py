"""The other sides of the comparisons: published arrangements, written by us for the measurement."""
