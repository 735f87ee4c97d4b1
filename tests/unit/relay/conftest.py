"""The `playbook` fixture: makes conversations and sees to it that each is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.playbook import Playbook

MakePlaybook = Callable[..., Playbook]


@pytest.fixture
def playbook(request: pytest.FixtureRequest) -> Iterator[MakePlaybook]:
    made: list[Playbook] = []

    def make(**options: object) -> Playbook:
        made.append(Playbook(**options))  # type: ignore[arg-type]
        return made[-1]

    failed_before = request.session.testsfailed
    yield make
    if request.session.testsfailed == failed_before:
        assert made, "the test asked for a playbook and played none"
        assert all(book.finished for book in made), "a conversation was left unfinished: call done()"
