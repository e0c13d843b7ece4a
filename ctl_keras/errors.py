"""The one exception that says "the input is wrong", as opposed to "the program is"."""


class InputError(ValueError):
    """Wrong input from a person: a file, a setting or an argument.

    The message is one line that says what is wrong, where, what was received and what to do. The
    command line prints it without a traceback and exits with 2.
    """
