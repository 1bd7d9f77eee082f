"""The one exception for wrong input; the command line turns it into exit code 2."""


class InputError(ValueError):
    """The user's input is wrong; the message names the file, column, row or key."""
