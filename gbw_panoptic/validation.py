"""Contradictions in a configuration, found before anything is built. Each becomes one sentence with its remedy."""

import logging

from .config import key_problems, unread_keys
from .config.checks import adaptation, data, network, run, weighting
from .errors import UserError


def validate_model(cfg) -> None:
    """Check what a trained model is built from, and how it predicts; nothing of the data sets of its training.

    Raises:
        UserError: as :func:`validate`.
    """
    checks = (
        key_problems,
        data.image_problems,
        network.resnet_problems,
        network.architecture_problems,
        run.file_problems,
    )
    for check in checks:
        for problem in check(cfg):
            raise UserError(problem)


def validate(cfg) -> None:
    """Check a configuration whose data sets are registered.

    Raises:
        UserError: naming the key, what was expected, what was found and what to do.
    """
    checks = (
        key_problems,
        weighting.branch_problems, weighting.manual_problems, weighting.released_problems,
        weighting.scale_free_problems, weighting.tau_problems,
        run.execution_problems,
        data.image_problems, data.data_set_problems, data.labelled_target_problems, data.task_problems,
        data.statistics_problems,
        network.resnet_problems, network.architecture_problems, network.weights_problems,
        adaptation.trainer_problems, adaptation.target_problems, adaptation.unlabelled_loss_problems,
        adaptation.teacher_problems, data.protocol_problems,
        run.tracking_problems, run.file_problems,
    )  # fmt: skip
    for check in checks:
        for problem in check(cfg):
            raise UserError(problem)
    if unread := unread_keys(cfg):
        logging.getLogger("gbw_panoptic").warning(
            "Nothing here reads %s: another value has no effect.", ", ".join(unread)
        )
