"""What a prompt looks like (L1, pure): which text before the cursor a command is typed behind.

A guess, by the habits of shells and consoles. Nothing here is a fact about the target.
"""

from __future__ import annotations

import re

# Prompts of shells, routers and databases end so; most have a blank behind it.
_ENDS = re.compile(r"[$#%>❯➜»λ›✗✘](?:\s|\xa0)*\Z|\((?:\w+)\) \Z")

# Progress: `45%`, `####`, `===>`, `[---->`.
_PROGRESS = re.compile(r"(?:[\d\s]%|##|={2,}>|-{3,}>)\s*\Z")

# Questions, whose answers are no commands, above all those for secrets.
_QUESTION = re.compile(
    r"pass(?:word|phrase|code)|\bPIN\b|secret|verification code|\[y/n\]|\(y(?:es)?/n|\?\s*\Z|--more--",
    re.IGNORECASE,
)

# A prompt that names who and where: nobody takes another line for it.
_STRONG = re.compile(r"\A\W{0,3}[\w.+-]+@[\w.-]+\b.*[$#%>]\s*\Z")

_ZSH_WORDS = (
    "quote dquote bquote heredoc heredocd for while until repeat select if then else elif elif-then case pipe cmdsubst "
    "mathsubst math cmdand cmdor cursh subsh function braceparam array foreach errexec cond"
)
_ZSH = re.compile(rf"\A(?:(?:{'|'.join(_ZSH_WORDS.split())})(?:> ?| ))+\Z")
_CONSOLE = re.compile(r"\A(?:\.\.\. ?| {3,}\.\.\.(?:> |: )| {2,}['\"`/]?-> | {2,}['\"`]> )\Z")
_MORE = re.compile(
    r"(?:[a-z-]+ )*[a-z-]*> ?|\.\.\. | {3,}\.\.\.(?:> |: )| +['\"`/]?-> |\S{1,64}[-*'\"$(!;^][>#] "
)
_COMPLAINT = re.compile(r"-?(?:ba|da|a|k|z|c)?sh: (?:\d+: |line \d+: )?\S+: ")
_PSQL = re.compile(r"\A(.*)([=\-*'\"$(!;^])([>#]) \Z")

_NUMBER = re.compile(r"\d+")
_PLACE = re.compile(r"[~/][^\s\])}>$#%]*")

# Characters of a line in which a prompt is looked for: longer ones are cut off by every shell.
LONGEST_PROMPT = 400

# A prompt of as many characters is no beginning of other text.
SHORTEST_SURE = 4


def is_prompt(text: str) -> bool:
    """Text before the cursor where a program waits: is it likely that commands are typed behind it?"""
    return (
        len(text) <= LONGEST_PROMPT
        and _ENDS.search(text) is not None
        and _PROGRESS.search(text) is None
        and _QUESTION.search(text) is None
    )


def is_strong(text: str) -> bool:
    """It names an account and a host, as programs other than shells do not."""
    return _STRONG.match(text) is not None


def split_prompt(text: str) -> int:
    """Where a prompt ends that begins `text`, with a command behind it; 0 for none."""
    found = re.match(r".{0,200}?(?:[$#%>❯➜»](?:\s|\xa0))", text)
    return found.end() if found and is_prompt(found[0]) else 0


def shape(prompt: str) -> str:
    """What stays the same when the folder, the time or a number in it changes: its first word and its end."""
    text = _NUMBER.sub("0", _PLACE.sub("~", prompt.strip()))
    first = re.split(r"[\s:]", text, maxsplit=1)[0]
    return f"{first} {text[-1:]}"


def continues(prompt: str, head: str, text: str) -> bool:
    """Right below `text`, which was typed behind `head`, stands `prompt`: is more of the same command wanted?"""
    if prompt == head:
        return False
    if _ZSH.match(prompt) or _CONSOLE.match(prompt):
        return True
    ours, theirs = _PSQL.match(head), _PSQL.match(prompt)
    if ours and theirs and ours[1] == theirs[1] and ours[2] == "=" != theirs[2]:
        return True
    return prompt.strip() == ">" and is_open(text)


def continuation(line: str, head: str, text: str) -> int:
    """The same of a whole line: how long the prompt is that begins it; 0 for none."""
    found = _MORE.match(line)
    return found.end() if found and continues(found[0], head, text) else 0


def is_complaint(text: str) -> bool:
    """A shell says what is wrong: output behind a prompt whose echo was off, and no command."""
    return _COMPLAINT.match(text) is not None


_OPENS = {"do": "done", "then": "fi", "else": "fi", "case": "esac", "{": "}", "(": ")", "if": "fi", "while": "done",
          "for": "done", "until": "done", "select": "done"}  # fmt: skip
_CLOSES = {"done", "fi", "esac", "}", ")"}
_WORD = re.compile(r"<<-?\s*(['\"\\]?)([\w.!-]+)|\|\||&&|[|;&(){}\n]|[^\s|;&(){}'\"\\<$`#]+|[\s\S]")


def is_open(text: str) -> bool:
    """A shell would want more: a quote, a block or a here-document is open, or an operator stands at the end.

    As far as such a reading goes without being a shell.
    """
    lines, at = text.split("\n"), 0
    quote, depth, last, ends = "", list[str](), "", list[str]()
    while at < len(lines):
        line = lines[at]
        at += 1
        if ends and not quote:
            if line.strip() == ends[0]:
                del ends[0]
            continue
        quote, last = _read(line, quote, depth, ends, last if quote or last == "\\" else "")
    return bool(quote or depth or ends or last in ("|", "||", "&&", "\\"))


def _read(line: str, quote: str, depth: list[str], ends: list[str], last: str) -> tuple[str, str]:
    """One line of a command: the quote that is open behind it, and its last word."""
    start, at = True, 0
    while at < len(line):
        if quote:
            at, quote = _quoted(line, at, quote)
            last = "'"
            continue
        found = _WORD.match(line, at)
        assert found is not None  # [\s\S] takes what is left
        word, at = found[0], found.end()
        if word == "\\":
            last, at = ("\\", at) if at >= len(line) else ("", at + 1)
        elif word in "'\"`":
            quote = word
        elif word == "#" and (last == "" or line[: found.start()].endswith(" ")):
            return quote, ""
        elif found[2]:
            ends.append(found[2])
            last = found[2]
        elif not word.isspace():
            start = _word(word, start, depth)
            last = word
    return quote, last


def _word(word: str, start: bool, depth: list[str]) -> bool:
    """Blocks that a word opens or closes. True when the next one stands where a command begins."""
    if word in "()" or start:
        if word in _CLOSES and depth:
            if word == depth[-1]:
                depth.pop()
        elif word in _OPENS and not (word in ("do", "then", "else") and depth and depth[-1] == _OPENS[word]):
            depth.append(_OPENS[word])
    return word in (
        ")",
        ";",
        "|",
        "||",
        "&&",
        "&",
        "(",
        "{",
        "do",
        "then",
        "else",
        "if",
        "while",
        "until",
        "!",
        "elif",
    )


def _quoted(line: str, at: int, quote: str) -> tuple[int, str]:
    """Behind the end of a quote, or of the line."""
    while at < len(line):
        if line[at] == "\\" and quote != "'":
            at += 2
            continue
        if line[at] == quote:
            return at + 1, ""
        at += 1
    return at, quote
