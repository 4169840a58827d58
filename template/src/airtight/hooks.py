"""Who is told of requests and failures: put a function on one of these lists, and it is called for each."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

request_began: list[Callable[[Any, str], None]] = []  # with the ASGI scope and the correlation id
request_ended: list[
    Callable[[str, str | None, int, float], None]
] = []  # with method, route, status, seconds
# copier: if example == "orders"
message_began: list[
    Callable[[dict[bytes, bytes], dict[str, Any]], None]
] = []  # with its fields, facts for its record
message_ended: list[Callable[[str, float], None]] = []  # with outcome, seconds
# copier: endif
call_started: list[
    Callable[[Any], AbstractContextManager[None]]
] = []  # with the request of a call to another service; is entered around it
trace_carriers: list[Callable[[dict[str, str]], None]] = []  # with headers that pass the trace on
failure_logged: list[
    Callable[[logging.LogRecord, dict[str, Any]], None]
] = []  # with the record, its masked fields
context_fields: list[
    Callable[[], dict[str, str]]
] = []  # returns what each record, and each body of an error, is to say
