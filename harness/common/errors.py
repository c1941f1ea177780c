"""The errors that a user can act on, each with the exit code of the program."""


class HarnessError(Exception):
    """Something failed for a known reason. The message is one paragraph that says what to do next. Exit code 1."""

    exit_code = 1


class BadInput(HarnessError):
    """The user's option, file or data cannot be used. The message names it and says what to do. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters, or its class name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
