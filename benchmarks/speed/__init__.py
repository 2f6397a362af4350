"""How fast every stage is, against rivals measured in the same process: ``make bench-speed``."""
