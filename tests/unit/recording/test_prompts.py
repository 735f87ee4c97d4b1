"""What a prompt looks like, and when a shell wants more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.prompts import (
    continuation,
    continues,
    is_complaint,
    is_open,
    is_prompt,
    is_strong,
    shape,
    split_prompt,
)


@pytest.mark.parametrize(
    "text",
    ["$ ", "# ", "root@web1:~# ", "[alice@web1 tmp]$ ", ">>> ", "mysql> ", "db=# ", "Router(config)#", "~ ❯ "],
)  # fmt: skip
def test_prompts_of_shells_and_consoles_are_taken_for_what_they_are(text: str) -> None:
    assert is_prompt(text)


@pytest.mark.parametrize(
    "text",
    ["Password: ", "[sudo] password for al#", "Sure? [y/N] ", " 45%", "#### ", "[===> ", "--More--", "x" * 500 + "$ "],
)  # fmt: skip
def test_questions_and_progress_are_none(text: str) -> None:
    assert not is_prompt(text)


def test_a_prompt_stays_the_same_in_another_folder_and_at_another_time() -> None:
    assert shape("root@web1:~# ") == shape("root@web1:/srv/data# ") != shape("alice@web1:~$ ")
    assert shape("[alice@web1 tmp]$ ") == shape("[alice@web1 ~]$ ") != shape("[root@web1 ~]# ")
    assert shape("12:33 $ ") == shape("12:34 $ ")


def test_who_and_where_in_a_prompt_make_it_sure() -> None:
    assert is_strong("root@web1:~# ") and is_strong("[alice@web1 ~]$ ")
    assert not is_strong("name> ") and not is_strong("$ ")


@pytest.mark.parametrize(
    "text",
    ["echo 'a", "cat <<END", "cat <<'E'\nx", "for i in 1 2; do\necho $i", "if true; then", "true &&", "ls |",
     "echo a \\", "f() {", "case $x in", "echo $(ls", 'echo "it\'s'],
)  # fmt: skip
def test_a_shell_wants_more_of_what_is_open(text: str) -> None:
    assert is_open(text) and continues("> ", "$ ", text)


@pytest.mark.parametrize(
    "text",
    ["ls", "echo 'a\nb'", "cat <<END\nx\nEND", "for i in 1 2; do\necho $i\ndone", "if true; then\nid\nfi", "# it's",
     "echo if", "echo a \\\nb", "case $x in\na) id;;\nesac", "echo don\\'t", "nslookup"],
)  # fmt: skip
def test_and_not_of_what_is_whole(text: str) -> None:
    assert not is_open(text) and not continues("> ", "$ ", text)


def test_continuation_prompts_of_others_are_known_by_their_looks() -> None:
    assert continues("... ", ">>> ", "for i in x:") and continues("    -> ", "mysql> ", "select")
    assert continues("quote> ", "web1% ", "echo 'a") and continues("for quote> ", "web1% ", "for")
    assert continues("db-> ", "db=> ", "select") and not continues("other-> ", "db=> ", "select")
    assert not continues("> ", "> ", "echo 'a")
    assert continuation("> b c", "$ ", "echo a \\") == 2 and continuation("> b", "$ ", "ls") == 0


def test_what_a_shell_says_of_a_command_is_none() -> None:
    assert is_complaint("bash: s3cret: command not found") and is_complaint("sh: 1: x: not found")
    assert not is_complaint("bash --version") and not is_complaint("bash script: x")


def test_a_prompt_is_cut_off_a_line() -> None:
    assert split_prompt("postgres=# select 1;") == len("postgres=# ") and split_prompt("no prompt") == 0


@given(st.text(st.sampled_from("ab '\"\\`$(){};|&<#\n->"), max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    assert is_open(text) in (True, False)
    assert 0 <= split_prompt(text) <= len(text)
    assert 0 <= continuation(text, "$ ", text) <= len(text)
