"""From what a client asks to what the one writer carries out: edits of what is declared.

An edit says what changes, given what is declared at the moment it is carried out; so a partial update, a roll-back or a free
service port is worked out on the latest state, and two clients cannot overwrite each other. It may raise ApiError: that is the answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from framework.api.errors import InvalidObjectError
from framework.api.forms import root_rules
from framework.api.forms.app_form import Defaults
from framework.api.forms.service_ports import ServicePorts
from framework.model import path_id
from framework.model.change import Change, Edit
from framework.model.group import Declared

DraftEdit = Callable[[Declared, Defaults], Change]


def complete(draft: DraftEdit, defaults: Defaults, ports: ServicePorts) -> Edit:
    """The edit as the engine takes it: with service ports assigned, and the rules of the whole kept.

    Tried out first and carried out soon after, it is worked out once, unless something was declared in between.
    """
    known: tuple[Declared, Change] | None = None

    def edit(declared: Declared) -> Change:
        nonlocal known
        if known is not None and known[0] is declared:
            return known[1]
        drafted = draft(declared, replace(defaults, groups=declared.groups))
        change = ports.assigned(drafted, declared.apps)
        violations = root_rules.violations(declared, change.applied_to(declared), change.ids)
        violations += root_rules.secret_violations(change, defaults.secrets_default, scoped=defaults.secrets_scoped)
        if violations:
            raise InvalidObjectError(violations)
        known = (declared, change)
        return change

    return edit


def ids_below(group: str, ids: Iterable[str]) -> list[str]:
    return [i for i in ids if path_id.is_below(i, group)]
