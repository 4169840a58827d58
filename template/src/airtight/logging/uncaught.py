"""Exceptions that nobody catches, in the main thread and in others, are records, too."""

import sys
import threading
from types import TracebackType

from .report import report_exception


class ExceptionHooks:
    """Replaces Python's hooks for exceptions that nobody catches.

    Hooks that others have set are called as well; those of Python itself would only print the
    traceback a second time.
    """

    def __init__(self) -> None:
        self._previous = sys.excepthook
        self._previous_of_threads = threading.excepthook

    def set(self) -> None:
        """Log exceptions that nobody catches from now on."""
        self.restore()
        self._previous = sys.excepthook
        self._previous_of_threads = threading.excepthook
        sys.excepthook = self._log
        threading.excepthook = self._log_of_thread

    def restore(self) -> None:
        """Put back the hooks that were there before, unless somebody has replaced ours."""
        if sys.excepthook == self._log:
            sys.excepthook = self._previous
        if threading.excepthook == self._log_of_thread:
            threading.excepthook = self._previous_of_threads

    def _log(
        self, kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, KeyboardInterrupt):
            self._previous(kind, exc, traceback)
            return
        report_exception(exc, message="uncaught exception")
        if self._previous != sys.__excepthook__:
            self._previous(kind, exc, traceback)

    def _log_of_thread(self, args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            report_exception(args.exc_value or args.exc_type(), message="a thread died")
        if self._previous_of_threads != threading.__excepthook__:
            self._previous_of_threads(args)


hooks = ExceptionHooks()
