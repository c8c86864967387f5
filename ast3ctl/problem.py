"""Why a command did not do what was asked: one line for stderr, and the exit code."""

WORK_FAILED = 1
WRONG_CALL = 2


class ProblemError(Exception):
    """The message says what is wrong and what to do; `code` is 1 (the work failed) or 2 (the call is wrong)."""

    def __init__(self, message: str, code: int = WORK_FAILED) -> None:
        super().__init__(message)
        self.code = code
