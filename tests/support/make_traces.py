"""Makes the traces of `test_reference.py` again: real programs on a pty, and what the reference terminal shows of
them.

    python -m tests.support.make_traces [NAME ...]

Needs bash, python3, vim, less, htop, dialog, tmux, top; node and npm for the reference (tests/support/xterm.py). A
trace is what came, cut where a key was sent; `shown` are the reference's screens after every key and before every
Enter.
"""

from __future__ import annotations

import base64
import json
import os
import select
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pexpect

from tests.support.xterm import reference

FOLDER = Path(__file__).resolve().parents[1] / "unit" / "recording" / "traces"
QUIET = 0.25  # seconds without output after which a program waits for keys
LONGEST = 3.0
TERMINALS = ("xterm-256color", "screen-256color")
SIZES = ((80, 24), (40, 12), (132, 43))

COMMAND = (
    "tr a-z A-Z < /srv/one | sort | uniq -c | sort -rn | head -20 > /srv/two/three # end of the whole command"
)
UP, LEFT, RIGHT, HOME, END = "\x1b[A", "\x1b[D", "\x1b[C", "\x01", "\x05"
BASH = "bash --norc --noprofile -i"
PYTHON = "python3 -q"
PRIVATE = "unshare --pid --fork --mount-proc "  # no process of this machine in a trace

# name -> (command, keys); "{dir}" is a folder of the trace's own, a pair another size of the window.
PROGRAMS: dict[str, tuple[str, list[str | tuple[int, int]]]] = {
    "readline": (
        BASH,
        ["PS1='a-very-long-prompt-of-some-host:/srv/data/deep/down$ '\r", COMMAND, "\r", UP, LEFT * 60, "EDITED",
        "\r", UP, HOME, "echo ", END, "\x17\x17", "done", "\r", "\x12sort", "\x07", "echo a\tb \\\r", "more\r",
        "exit\r"], ),
    "wide": (
        BASH,
        ["PS1='$ '\r", "echo 你好", LEFT * 2, "X", "\r", "echo 😀🚀 e\u0301 漢字かな交じり文" * 3, "\r", UP, LEFT * 20,
         "\x7f\x7f", "\r", "printf '你\\b\\bX\\n한국어\\rA\\n'\r", "exit\r"],
    ),
    "python": (
        PYTHON,
        ["x = '" + "long " * 30 + "'", "\r", UP, LEFT * 70, "INSERTED", "\r", "print('你好' * 30)\r",
         "for i in range(3):\r",
         "    print(i, '\\t', i)\r", "\r", "import os; os.system('printf \"a\\\\033[5bz\\\\n\"')\r", "exit()\r"],
    ),
    "vim": (
        "vim -u NONE -N --cmd 'set ruler nomodeline' {dir}/text",
        ["ihello world\rsecond line 你好 😀\rthird\x1b", "yyppp", ":set number\r", "gg", "dw", "/line\r", ":%s/o/0/g\r",
         "\x06", "\x02", ":split\r", "\x17j", "G", "o" + "x" * 150 + "\x1b", ":set list\r", "\x0c", ":q!\r", ":q!\r"],
    ),
    "less": (
        "less -S {dir}/long",
        [" ", " ", "b", "/line 7\r", "n", "G", "k", "k", "k", "g", RIGHT, LEFT, "30g", "q"],
    ),
    "htop": (PRIVATE + "htop -d 100 --no-color", ["", "\x1b[B", "\x1b[B", "/", "init", "\r", "\x1b[6~", "h", "q",
    "q"]), "top": (PRIVATE + "top -d 100", ["", "1", "E", "q"]),
    "dialog": (
        "dialog --clear --ascii-lines --menu choose 15 36 5 a one b two c 三 d four",
        ["\x1b[B", "\x1b[B", "\t", "\t", "\r"],
    ),
    "dialog-lines": ("dialog --yesno 'Really? 真的吗' 8 36", ["\t", "\t", "\r"]),
    "tmux": (
        "tmux -u -f /dev/null -L {socket} new-session 'bash --norc'",
        ["PS1='1> '\r", "ls -l /usr | head -30\r", "\x02%", "PS1='2> '; seq 100\r", '\x02"',
         "PS1='3> '; printf '你好\\n'\r",
         "\x02o", "echo back in one; seq 50\r", "\x02z", "\x02z", "\x02[", "\x1b[5~", "q", "\x02c", "reset\r",
         "exit\r", "\x02d"],
    ),
    "sequences": (
        BASH,
        ["PS1='$ '\r", "printf 'pass=a\\033[5bz\\n'\r", "printf '\\033(0lqqk\\033(B\\n'\r", "tput init\r",
         "tabs 4; printf 'a\\tb\\tc\\n'\r", "printf '\\033[2;5r\\033[5;1Hone\\ntwo\\nthree\\n\\033[r\\033[10;1H'\r",
         "printf 'abc\\033[!pdef\\n'\r", "clear\r", "printf 'x%.0s' {1..200}; echo\r",
         "printf '\\033[?1049halt\\033[?1049l'\r",
         "printf '\\033c'\r", "exit\r"],
    ),
    "resized-bash": (
        BASH,
        ["PS1='host:/srv$ '\r", "seq 60\r", (60, 20), "echo narrower\r", (100, 30), COMMAND, (50, 30), LEFT * 30, "X",
         (90, 10), "\r", "seq 20\r", (90, 40), "echo 你好 taller\r", (41, 9), "echo last\r", "exit\r"],
    ),
    "resized-vim": (
        "vim -u NONE -N --cmd 'set ruler nomodeline' {dir}/long",
        ["20j", (60, 15), "yyp", ":split\r", (110, 40), "G", "i" + "y" * 150 + "\x1b", (45, 12), "gg", (80, 24),
         ":q!\r", ":q!\r"],
    ),
    "resized-less": ("less -S {dir}/long", [" ", (60, 15), " ", (120, 40), "b", (40, 10), "/line 9\r", (80, 24), "q"]),
    "resized-tmux": (
        "tmux -u -f /dev/null -L {socket} new-session 'bash --norc'",
        ["PS1='1> '\r", "seq 40\r", "\x02%", "PS1='2> '; seq 100\r", (70, 20), "echo 你好\r", (120, 35), '\x02"',
         "PS1='3> '\r", (50, 14), "\x02o", "echo back\r", (80, 24), "\x02d"],
    ),
}  # fmt: skip


def run(name: str, terminal: str, size: tuple[int, int]) -> dict[str, Any]:
    """One program, with its keys."""
    command, keys = PROGRAMS[name]
    with tempfile.TemporaryDirectory(prefix="trace-") as folder:
        Path(folder, "long").write_text(
            "".join(f"line {n} " + "abcdefghij" * (n % 20) + "\n" for n in range(200))
        )
        command = command.format(dir=folder, socket=f"trace-{os.getpid()}")
        environment = {**os.environ, "TERM": terminal, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": folder}
        for variable in ("TMUX", "COLUMNS", "LINES", "LESS", "PROMPT_COMMAND"):
            environment.pop(variable, None)
        child = pexpect.spawn(
            "/bin/sh", ["-c", command], env=environment, dimensions=(size[1], size[0]), cwd=folder
        )
        child.delaybeforesend = None
        steps: list[Any] = [{"data": read(child, LONGEST)}]
        for key in keys:
            if isinstance(key, tuple):
                child.setwinsize(key[1], key[0])
                steps += {"size": key}, {"snap": True}, {"data": read(child)}
                continue
            for part in key.split("\r"):
                if part:
                    child.send(part)
                    steps.append({"data": read(child)})
                if key.endswith("\r") or "\r" in key:
                    steps.append({"snap": True})
                    child.send("\r")
                    steps.append({"data": read(child)})
                    key = key.partition("\r")[2]
        steps.append({"snap": True})
        child.close(force=True)
    steps = [
        one
        for step in steps
        if step.get("data") != ""
        for one in (step, {"snap": True})[: 1 + ("data" in step)]
    ]
    return {"name": name, "terminal": terminal, "cols": size[0], "rows": size[1], "steps": steps}


def read(child: Any, first: float = QUIET) -> str:
    """What comes until nothing has come for a while."""
    data, wait = b"", first
    while child.isalive() or data:
        ready, _, _ = select.select([child.child_fd], [], [], wait)
        if not ready:
            break
        try:
            piece = os.read(child.child_fd, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        data, wait = data + piece, QUIET
    return base64.b64encode(data).decode()


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or PROGRAMS:
        made = [run(name, terminal, size) for terminal in TERMINALS for size in SIZES]
        for trace, shown in zip(made, reference(made), strict=True):
            trace["shown"] = shown
        packed = zlib.compress(json.dumps(made).encode(), 9)
        (FOLDER / f"{name}.json.z").write_bytes(packed)
        print(
            name,
            len(made),
            "traces,",
            sum(len(trace["shown"]) for trace in made),
            "screens,",
            len(packed),
            "bytes",
        )


if __name__ == "__main__":
    main(sys.argv[1:])
