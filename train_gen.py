"""Train a recommender: ``accelerate launch train_gen.py --config configs/beauty.yaml [--section.setting VALUE ...]``.

Runs the stages that are missing (prepare, embed, tokenize), trains, and goes on where an interrupted run stopped.
"""

import sys

from gen_rec.cli import guarded, parse
from gen_rec.pipeline import run_training

if __name__ == "__main__":
    config, options = parse("train", sys.argv[1:])
    sys.exit(guarded(lambda: run_training(config, options.force)))
