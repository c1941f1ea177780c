"""The errors that a user can act on, each with the exit code of the program."""

from harness.common.redact import redacted

#: With this begins SQLAlchemy's advice to programmers, which comes before what has gone wrong.
ADVICE = "(raised as a result of Query-invoked autoflush"


class HarnessError(Exception):
    """Something failed for a known reason. The message is one paragraph that says what to do next. Exit code 1.

    The message holds no password or token, whatever it was made of.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class BadInput(HarnessError):
    """The user's option, file or data cannot be used. The message names it and says what to do. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException, *urls: str) -> str:
    """Return the first line of an error's message, at most 200 characters, or its class name if it has no message.

    Without the secrets in it, those of these URLs among them.
    """
    # Before it is cut: half of a URL no longer looks like one.
    lines = (redacted(str(error), *urls).strip() or type(error).__name__).splitlines()
    return next((line for line in lines if not line.startswith(ADVICE)), lines[0])[:200]
