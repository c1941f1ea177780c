"""The errors a user can act on, and the exit code each one ends the program with."""


class HarnessError(Exception):
    """Something failed for a reason we can name: one paragraph that says what to do next. Exit code 1."""

    exit_code = 1


class BadInput(HarnessError):
    """The user's option, file or data cannot be used: names it, and the way out. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, short enough for a sentence of ours; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
