"""What keeps errors from escaping. Nothing here needs to be edited, and an update replaces it.

The service uses the names in `__all__`. What a single feature needs it imports from that feature's
module, so that nothing is loaded in vain.

One failure is one record, written by `report_exception`. In a request, `handlers` report errors
that become responses, and `boundary`, the outermost layer, reports what is left. Elsewhere,
`lifespan` reports failed starts, tasks and threads of its pool, and `logging.uncaught` what ends a
thread or the process.
# copier: if example == "orders"
In a worker, `messages` reports what fails in a message.
# copier: endif
All of them ask `context` whether the exception, one of its causes or its group was reported for
this request before; `logging.duplicates` drops what servers log about it besides.
"""

from . import hooks
from .application import AirtightAPI
from .context import get_correlation_id, set_subject
from .lifespan import report_lifespan_errors
from .logging import configure_logging, redact, report_exception, request_fields
from .openapi import raises
from .outgoing import observe_calls, observe_command, observe_connection, trace_headers

__all__ = [
    "AirtightAPI",
    "configure_logging",
    "get_correlation_id",
    "hooks",
    "observe_calls",
    "observe_command",
    "observe_connection",
    "raises",
    "redact",
    "report_exception",
    "report_lifespan_errors",
    "request_fields",
    "set_subject",
    "trace_headers",
]
