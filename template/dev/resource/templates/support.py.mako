"""${Labels} that tests create."""

import itertools
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

from tests.support.service import Service
% for reference in foreign:
from tests.support.${reference.plural} import create_${reference.singular}
% endfor

% if needs_numbers:
NUMBERS = itertools.count(1)  # what must be unique has the next one


% endif
def new_${customer}(service: Service) -> dict[str, Any]:
    """Return ${a} ${label} that can be created; what must be unique differs each time."""
    return {
% for field in sent:
        "${field.name}": ${field.type.distinct if field.unique else field.type.value},
% endfor
    }


def create_${customer}(service: Service) -> dict[str, Any]:
    """Create ${a} ${label}, and return it."""
    response = service.request("POST", "/${customers}", json=new_${customer}(service))
    assert response.status_code == 201, response.text
    ${customer}: dict[str, Any] = response.json()
    return ${customer}
