"""The one exception for input that the user can mend."""


class UserError(Exception):
    """Bad input: one sentence with what was expected, what was found and what to do.

    Command-line tools print it without a traceback and exit with :data:`EXIT_CODE` (see :func:`gbw_panoptic.cli.main`).
    """


EXIT_CODE = 2
