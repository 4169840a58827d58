"""The form of the bodies of errors that this service has chosen."""

# copier: if error_format == "message"
from .message import MEDIA_TYPE, Problem, ValidationProblem, build_body

# copier: endif
# copier: if error_format == "problem"
from .problem import MEDIA_TYPE, Problem, ValidationProblem, build_body

# copier: endif
__all__ = ["MEDIA_TYPE", "Problem", "ValidationProblem", "build_body"]
