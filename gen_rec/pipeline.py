"""From raw interactions to a trained recommender: the missing stages, then the training, on any number of processes."""

import logging

from gen_rec.config import Config, to_yaml
from gen_rec.run import Run
from gen_rec.stages import run_embed, run_prepare, run_tokenize
from gen_rec.training.stage import make_accelerator, train

logger = logging.getLogger(__name__)


def run_training(config: Config, force: bool = False) -> None:
    """Prepare, embed and tokenize where inputs or settings have changed, then train or go on training.

    Under ``accelerate launch`` the first process does the stages before training while the others wait.
    force: train anew, from the start
    """
    accelerator = make_accelerator(config)
    device = str(accelerator.device)
    if accelerator.is_main_process:
        Run(config.run).remember(to_yaml(config))
        run_prepare(config)
        run_embed(config, device)
        run_tokenize(config, device)
    else:
        logging.getLogger("gen_rec").setLevel(logging.WARNING)  # one process speaks
    accelerator.wait_for_everyone()
    train(config, accelerator, force)
    accelerator.end_training()
