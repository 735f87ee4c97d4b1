"""Many people behind one address log in with passwords, and some mistype theirs: nobody else is refused.

And so when a playbook runs on fifty hosts at the same time, from the same address
(tests/interop/tools/test_ansible_fifty.py).
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.office import accounts, check_nobody_else_was_refused, log_in
from tests.support.sshd import sshd_missing
from tests.support.world import running

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

LOGINS, TYPOS, AT_ONCE = 500, 25, 8


def test_five_hundred_logins_from_one_address_with_typos() -> None:
    """On two workers with the penalties as they are by default. Each typo is of another person, who then types right;
    with 20 of them in ten minutes the address would be blocked if they were counted on."""
    with running(workers=2, users=accounts()) as world:
        assert Counter(log_in(world, LOGINS, TYPOS, AT_ONCE)) == {"in": LOGINS}
        check_nobody_else_was_refused(world, TYPOS)
