# ruff: noqa: E501 - keys in tables read better in one line
"""What is typed in the cases of `test_command_cases.py`: shells, prompts, terminals, and keys."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Send:
    """Sent in one piece, as typed ahead; the next step comes after `wait` seconds of silence."""

    text: str
    wait: float = 0.0


@dataclass(frozen=True)
class Paste:
    """Pasted: in brackets, where the program has asked for them."""

    text: str


@dataclass(frozen=True)
class Resize:
    """The window gets another size."""

    cols: int
    rows: int


@dataclass(frozen=True)
class Case:
    """One session. A string in `keys` is pressed key by key."""

    name: str
    group: str
    command: str
    keys: tuple[str | Send | Paste | Resize, ...]
    rc: str = ""
    inputrc: str = ""
    size: Size = (80, 24)
    term: str = "xterm-256color"
    needs: tuple[str, ...] = ()
    unseen: tuple[
        str, ...
    ] = ()  # in a history, and no command that was seen to be run: secrets, answers, given up


UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
HOME, END, CTRL_C, CTRL_D, CTRL_L, CTRL_R, CTRL_W, CTRL_U, CTRL_Y, CTRL_K, CTRL_G = "\x01\x05\x03\x04\x0c\x12\x17\x15\x19\x0b\x07"  # fmt: skip
ESC = "\x1b"

BASH = 'exec bash --rcfile "$HOME/bashrc" -i'
ZSH, FISH = "exec zsh -i", "exec fish -i"
DASH = 'exec strace -f -qq -e trace=read -e signal=none -s 4096 -o "$HOME/strace" dash -i'
TMUX = "exec tmux -u -f /dev/null"

# The prompts of Debian's and of Red Hat's bash.
DEBIAN = "PS1='\\[\\e]0;\\u@web1: \\w\\a\\]${debian_chroot:+($debian_chroot)}\\u@web1:\\w\\$ '\n"
REDHAT = "PS1='[\\u@web1 \\W]\\$ '\n"
PLAIN = "PS1='$ '\n"
LONG = "PS1='a-very-long-prompt-of-some-host:/srv/data/deep/down/in/a/tree\\$ '\n"
TWO_LINES = "PS1='\\[\\e[32m\\]┌─(\\u@web1)─[\\w]\\n\\[\\e[34m\\]└─\\[\\e[0m\\]\\$ '\n"
OSC = (
    "PS1='\\[\\e]133;A\\a\\]\\u@web1:\\w\\$ \\[\\e]133;B\\a\\]'\nPS0='\\[\\e]133;C\\a\\]'\n"
    "__osc() { local s=$?; printf '\\e]133;D;%s\\a' $s; return $s; }\nPROMPT_COMMAND='__osc; __log'\n"
)
ZSH_OSC = (
    "PROMPT=$'%{\\e]133;A\\a%}%n@web1 %~ %# %{\\e]133;B\\a%}'\n"
    "__osc_pre() { print -n '\\e]133;C\\a' }; preexec_functions=(__osc_pre)\n"
    '__osc_post() { print -n "\\e]133;D;$?\\a" }; precmd_functions=(__osc_post __log)\n'
)
OLD = "set enable-bracketed-paste off\n"  # readline before 8.1: what RHEL 7 and 8 have
SHOWN_MODE = "set editing-mode vi\nset show-mode-in-prompt on\n"

PIPE = "tr a-z A-Z < text | sort | uniq -c | sort -rn | head -3 > dir/out # end of the whole command"
DONE = "exit\r"

PLAIN_KEYS = ("ls\r", "false\r", "\r", "\r", "echo one  two | tr a-z A-Z\r", "(exit 7)\r", "seq 30\r", "printf 'no newline'\r",
              "cd dir/sub\r", "pwd\r", "cd; true\r", DONE)  # fmt: skip
WRAP_KEYS = (
    PIPE + "\r",
    UP,
    LEFT * 40,
    "EDITED ",
    "\r",
    UP + UP,
    HOME + "echo ",
    "\r",
    "# " + "x" * 170 + "\r",
    DONE,
)
HISTORY_KEYS = ("echo alpha\r", "echo beta gamma\r", "true\r", UP * 3, "\r", UP * 2, DOWN, "\r", CTRL_R, "bet", "\r",
                CTRL_R, "alp", LEFT * 2, "ZZ\r", CTRL_R + "nothing", CTRL_G, "echo after\r", DONE)  # fmt: skip
EDIT_KEYS = ("echo one two three", CTRL_W * 2, "dos tres\r", "echo abc", LEFT * 2, "X\r", "echo last word\r",
             "printf '%s\\n' ", ESC + ".", "\r", "echo cut me", ESC + "b", CTRL_K, CTRL_Y, CTRL_Y, "\r", "junk", CTRL_U,
             "echo fresh\r", "echo wrogn\x7f\x7fng\r", HOME + "echo mid", CTRL_K, "dle\r", DONE)  # fmt: skip
TAB_KEYS = ("cat only\t\r", "cat al\t\t", "p\tha.txt", "\r", "ls d\t\r", "ec\t\t", "ho tabbed\r", DONE)
CANCEL_KEYS = ("echo never run", CTRL_C, "echo run\r", "rm -rf /nothing", CTRL_U, "\r", "sleep 30\r", CTRL_C,
               "cat\r", "typed into cat\r", CTRL_C, "for i in 1; do\r", "echo half", CTRL_C, "echo end\r", DONE)  # fmt: skip
QUOTES_KEYS = ("echo 'one\r", "two\r", "three' four\r", "cat <<END\r", "in the document\r", "$HOME > x\r", "END\r",
               "for i in 1 2; do\r", "echo $i\r", "done\r", "echo a \\\r", "b c\r", "true &&\r", "echo yes\r",
               "if true; then\r", "echo in\r", "fi\r", DONE)  # fmt: skip
WIDE_KEYS = ("echo 你好", LEFT * 2, "X\r", "echo 漢字かな交じり文の長い行です。端末の幅を超えると折り返します、二行目まで続く文章\r",
             "echo 😀🚀 naïve e\u0301\r", UP, HOME, RIGHT * 5, "한국어 ", "\r", "printf '%s\\n' 你\x7f我\r", DONE)  # fmt: skip
PASTE_KEYS = (Paste("echo pasted in one"), "\r", Paste("echo first\necho second\necho third"), "\r",
              Paste("for i in a b; do\n  echo $i\ndone\n"), "\r", Paste("cat <<E\nx\nE\n"), "\r", DONE)  # fmt: skip
SCREENS_KEYS = ("vim -u NONE -N text\r", "ihello $ rm -rf /\rroot# id\r", ESC, ":wq\r", "less text\r", " ", "/line 5\r", "q",
                "echo after\r", DONE)  # fmt: skip
CLEAR_KEYS = (
    "echo before\r",
    "echo half",
    CTRL_L,
    " done\r",
    "clear\r",
    "echo cleared\r",
    "seq 40\r",
    CTRL_L,
    "ls\r",
    DONE,
)
RESIZE_KEYS = ("echo wide\r", "echo a line that is long enough to be wrapped", Resize(40, 20), " when narrow\r", "ls\r",
               "echo and another one that is typed when it is narrow", Resize(100, 30), " now wide\r", DONE)  # fmt: skip
SECRET_KEYS = ("read -s -p 'Password: ' x\r", "s3cret-one\r", "echo shown\r", "read -p 'Really? [y/N] ' y\r", "yes\r",
               "read -p 'name> ' n\r", "somebody\r", "stty -echo\r", "s3cret-two\r", "stty echo\r", "echo end\r", DONE)  # fmt: skip
OUTPUT_KEYS = ("printf 'user> '; sleep .4; echo drop table\r", "printf '100%% '; sleep .4; echo done\r", "sleep .6 & sleep .9\r",
               "for i in 1 2 3; do printf \"\\r$i0%% #\"; sleep .3; done; echo\r", "echo '$ rm -rf /'; sleep .4; echo 'root# id'\r",
               "printf '$ '; sleep .5; printf 'whoami\\nroot\\n'\r", DONE)  # fmt: skip
AHEAD_KEYS = (
    Send("sleep .6; echo one\recho two\r", 1.2),
    Send("true\rfalse\recho three\r", 0.5),
    "echo four\r",
    DONE,
)
PYTHON_KEYS = ("python3 -q\r", "x = 1\r", "for i in range(2):\r", "    print(i)\r", "\r", UP * 3, "\r", "print('你好')\r", "input('go> ')\r",
               "answer\r", CTRL_D, "echo back\r", DONE)  # fmt: skip
SQLITE_KEYS = ("sqlite3\r", "create table t (a int);\r", "insert into t\r", "values (1);\r", "select * from t;\r", ".quit\r",
               "echo back\r", DONE)  # fmt: skip
PSQL_KEYS = ("psql -X -q \"$DATABASE\"\r", "create table t (a int);\r", "select\r", "1 as one\r", ";\r", "insert into t values (3);\r",
             "select * from t;\r", UP, "\r", "\\q\r", "echo back\r", DONE)  # fmt: skip
SUDO_KEYS = (
    "whoami\r",
    "sudo -E bash --rcfile other -i\r",
    "id -u\r",
    "echo as root\r",
    DONE,
    "echo back\r",
    DONE,
)
SSH_KEYS = (
    "hostname > dir/h\r",
    "ssh -F ssh_config db1 -t\r",
    "echo there\r",
    "ls -d dir\r",
    "false\r",
    DONE,
    "echo back\r",
    DONE,
)
VI_KEYS = ("echo one two", ESC, "0", "wcwuno", ESC, "A three\r", ESC + "k", "A more\r", "echo wrong", ESC, "dd", "iecho right\r",
           ESC + "kk", "\r", DONE)  # fmt: skip
PANES_KEYS = ("echo first pane\r", "\x02%", "echo second pane\r", "ls\r", "\x02o", "echo back in first\r", "seq 50\r",
              "echo half", "\x02o", "echo other\r", "\x02o", " done\r", '\x02"', "echo third\r", "clear\r", "echo cleared\r",
              DONE, DONE, DONE)  # fmt: skip
WINDOWS_KEYS = ("echo in window 0\r", "\x02c", "echo in window 1\r", "\x02n", "echo again in 0\r", "\x02[", UP * 3, "q", PIPE + "\r",
                "seq 40\r", UP, "\r", DONE, "echo in 1\r", DONE)  # fmt: skip
SCREEN_KEYS = ("echo in window 0\r", "\x01c", "echo in window 1\r", "\x01n", "echo again in 0\r", PIPE + "\r", "seq 40\r", UP, "\r",
               "false\r", DONE, "echo in 1\r", DONE)  # fmt: skip

START_SCREEN = "screen -U -c screenrc\r"
SCREEN_EDIT_KEYS = tuple(key.replace(HOME, "\x01a") for key in EDIT_KEYS)

DASH_KEYS = ("ls\r", "false\r", "\r", "echo typo\x7f\x7f\x7f\x7fgood\r", "junk", CTRL_U, "echo fresh\r", "echo one two", CTRL_W, "three\r",
             "sleep 30\r", CTRL_C, "cat <<END\r", "body\r", "END\r", "for i in 1 2; do\r", "echo $i\r", "done\r", DONE)  # fmt: skip
DASH_CANCEL = (
    "echo never",
    CTRL_C,
    "echo run\r",
    "vim -u NONE -N text\r",
    ":q\r",
    "echo " + "long " * 20 + "\r",
    DONE,
)
DASH_ECHO = ("stty -echo; printf 'Password: '; read x; stty echo\r", "s3cret-one\r", "echo shown\r", DONE)

ZSH_PLAIN = "PROMPT='%n@web1 %~ %# '\n"
ZSH_RIGHT = "PROMPT='%F{green}%1~%f %# '\nRPROMPT='%F{yellow}[%h] main%f'\n"
ZSH_TWO = "PROMPT=$'\\n%F{blue}%~%f main\\n%F{magenta}❯%f '\n"
ZSH_QUOTES = ("echo 'one\r", "two' three\r", "cat <<END\r", "body\r", "END\r", "for i in 1 2; do\r", "echo $i\r", "done\r",
              "echo a \\\r", "b\r", "true &&\r", "echo yes\r", DONE)  # fmt: skip
ZSH_TABS = ("cat only\t\r", "cat al\t", "\t", "\t\r", "ls d\t\r", "ls b\t", CTRL_C, "echo tabbed\r", DONE)
FISH_PROMPT = "function fish_prompt; echo -n (whoami)'@web1 '(prompt_pwd)'> '; end\n"
FISH_RIGHT = FISH_PROMPT + "function fish_right_prompt; echo -n 'main 12:30'; end\n"
FISH_KEYS = ("ls\r", "false\r", "\r", "echo one two three\r", "echo one", RIGHT, "\r", "echo on\r", UP + UP, "\r", "for i in 1 2\r", "echo $i\r",
             "end\r", "echo 'a\r", "b'\r", "echo never", CTRL_C, "echo run\r", DONE)  # fmt: skip
FISH_TABS = ("cat only\t\r", "cat al\t\t", "\r", "ls d\t\r", CTRL_R, "only", "\r", "\r", PIPE + "\r", DONE)

GIVEN_UP, ANSWERS = ("for i in 1; do",), ("answer",)
SECRETS = ("s3cret-one", "s3cret-two", "stty echo")  # the last was typed while echo was off

CASES = (
    Case("bash-plain", "bash", BASH, PLAIN_KEYS, DEBIAN),
    Case("bash-redhat", "bash", BASH, PLAIN_KEYS, REDHAT),
    Case("bash-wrapped", "bash", BASH, WRAP_KEYS, LONG),
    Case("bash-history", "bash", BASH, HISTORY_KEYS, DEBIAN),
    Case("bash-edited", "bash", BASH, EDIT_KEYS, DEBIAN),
    Case("bash-completed", "bash", BASH, TAB_KEYS, DEBIAN),
    Case("bash-cancelled", "bash", BASH, CANCEL_KEYS, DEBIAN, unseen=GIVEN_UP),
    Case("bash-quotes", "bash", BASH, QUOTES_KEYS, DEBIAN),
    Case("bash-wide", "bash", BASH, WIDE_KEYS, DEBIAN),
    Case("bash-pasted", "bash", BASH, PASTE_KEYS, DEBIAN),
    Case("bash-full-screen", "bash", BASH, SCREENS_KEYS, DEBIAN),
    Case("bash-cleared", "bash", BASH, CLEAR_KEYS, DEBIAN),
    Case("bash-resized", "bash", BASH, RESIZE_KEYS, DEBIAN),
    Case("bash-secrets", "bash", BASH, SECRET_KEYS, DEBIAN, unseen=SECRETS),
    Case("bash-output", "bash", BASH, OUTPUT_KEYS, DEBIAN),
    Case("bash-ahead", "bash", BASH, AHEAD_KEYS, DEBIAN),
    Case("bash-two-lines", "bash", BASH, PLAIN_KEYS, TWO_LINES),
    Case("bash-vi", "bash", BASH, VI_KEYS, "set -o vi\n" + DEBIAN),
    Case("bash-vi-mode-shown", "bash", BASH, VI_KEYS, DEBIAN, SHOWN_MODE),
    Case("bash-sudo", "nested", BASH, SUDO_KEYS, DEBIAN),
    Case("bash-ssh", "nested", BASH, SSH_KEYS, DEBIAN, needs=("ssh",)),
    Case("bash-python", "nested", BASH, PYTHON_KEYS, DEBIAN, unseen=ANSWERS),
    Case("bash-sqlite", "nested", BASH, SQLITE_KEYS, DEBIAN),
    Case("bash-psql", "nested", BASH, PSQL_KEYS, DEBIAN, needs=("psql",)),
    Case("python", "nested", "exec python3", (*PYTHON_KEYS[1:-3], "exit()\r"), unseen=ANSWERS),
    Case("old-plain", "bash without bracketed paste", BASH, PLAIN_KEYS, REDHAT, OLD),
    Case("old-wrapped", "bash without bracketed paste", BASH, WRAP_KEYS, LONG, OLD),
    Case("old-history", "bash without bracketed paste", BASH, HISTORY_KEYS, REDHAT, OLD),
    Case("old-edited", "bash without bracketed paste", BASH, EDIT_KEYS, REDHAT, OLD),
    Case("old-completed", "bash without bracketed paste", BASH, TAB_KEYS, REDHAT, OLD),
    Case("old-cancelled", "bash without bracketed paste", BASH, CANCEL_KEYS, REDHAT, OLD, unseen=GIVEN_UP),
    Case("old-quotes", "bash without bracketed paste", BASH, QUOTES_KEYS, REDHAT, OLD),
    Case("old-wide", "bash without bracketed paste", BASH, WIDE_KEYS, REDHAT, OLD),
    Case("old-pasted", "bash without bracketed paste", BASH, PASTE_KEYS, REDHAT, OLD),
    Case("old-full-screen", "bash without bracketed paste", BASH, SCREENS_KEYS, REDHAT, OLD, term="vt100"),
    Case("old-cleared", "bash without bracketed paste", BASH, CLEAR_KEYS, REDHAT, OLD),
    Case("old-resized", "bash without bracketed paste", BASH, RESIZE_KEYS, REDHAT, OLD),
    Case("old-secrets", "bash without bracketed paste", BASH, SECRET_KEYS, REDHAT, OLD, unseen=SECRETS),
    Case("old-output", "bash without bracketed paste", BASH, OUTPUT_KEYS, REDHAT, OLD),
    Case("old-ahead", "bash without bracketed paste", BASH, AHEAD_KEYS, REDHAT, OLD),
    Case("old-two-lines", "bash without bracketed paste", BASH, PLAIN_KEYS, TWO_LINES, OLD),
    Case("old-vi-mode-shown", "bash without bracketed paste", BASH, VI_KEYS, REDHAT, OLD + SHOWN_MODE),
    Case("old-python", "bash without bracketed paste", BASH, PYTHON_KEYS, REDHAT, OLD, unseen=ANSWERS),
    Case("old-ssh", "bash without bracketed paste", BASH, SSH_KEYS, REDHAT, OLD, needs=("ssh",)),
    Case("old-short-prompt", "bash without bracketed paste", BASH, PLAIN_KEYS, PLAIN, OLD, (40, 10)),
    Case("osc-plain", "OSC 133", BASH, PLAIN_KEYS, OSC),
    Case("osc-edited", "OSC 133", BASH, EDIT_KEYS, OSC),
    Case("osc-quotes", "OSC 133", BASH, QUOTES_KEYS, OSC),
    Case("osc-cancelled", "OSC 133", BASH, CANCEL_KEYS, OSC, OLD, unseen=GIVEN_UP),
    Case("osc-pasted", "OSC 133", BASH, PASTE_KEYS, OSC),
    Case("osc-ahead", "OSC 133", BASH, AHEAD_KEYS, OSC, OLD),
    Case("osc-python", "OSC 133", BASH, PYTHON_KEYS, OSC, unseen=ANSWERS),
    Case("osc-zsh", "OSC 133", ZSH, PLAIN_KEYS, ZSH_OSC),
    Case("dash-plain", "dash", DASH, DASH_KEYS),
    Case("dash-cancelled", "dash", DASH, DASH_CANCEL),
    Case("dash-pasted", "dash", DASH, (Paste("echo one\necho two\n"), "echo three\r", DONE)),
    Case("dash-echo-off", "dash", DASH, DASH_ECHO, unseen=SECRETS),
    Case("zsh-plain", "zsh", ZSH, PLAIN_KEYS, ZSH_PLAIN),
    Case("zsh-right-prompt", "zsh", ZSH, PLAIN_KEYS, ZSH_RIGHT),
    Case("zsh-two-lines", "zsh", ZSH, EDIT_KEYS, ZSH_TWO),
    Case("zsh-wrapped", "zsh", ZSH, WRAP_KEYS, ZSH_RIGHT),
    Case("zsh-history", "zsh", ZSH, HISTORY_KEYS, ZSH_RIGHT),
    Case("zsh-completed", "zsh", ZSH, ZSH_TABS, "autoload -Uz compinit; compinit -u\n" + ZSH_PLAIN),
    Case("zsh-quotes", "zsh", ZSH, ZSH_QUOTES, ZSH_PLAIN),
    Case("zsh-cancelled", "zsh", ZSH, CANCEL_KEYS, ZSH_PLAIN),
    Case("zsh-pasted", "zsh", ZSH, PASTE_KEYS, ZSH_PLAIN),
    Case("zsh-wide", "zsh", ZSH, WIDE_KEYS, ZSH_RIGHT),
    Case("zsh-vi", "zsh", ZSH, VI_KEYS, "bindkey -v\n" + ZSH_PLAIN),
    Case("zsh-resized", "zsh", ZSH, RESIZE_KEYS, ZSH_RIGHT),
    Case("fish-plain", "fish", FISH, FISH_KEYS, FISH_PROMPT),
    Case("fish-right-prompt", "fish", FISH, (*PLAIN_KEYS[:5], DONE), FISH_RIGHT),
    Case("fish-completed", "fish", FISH, FISH_TABS, FISH_PROMPT),
    Case("tmux-windows", "tmux, screen", TMUX, WINDOWS_KEYS, DEBIAN),
    Case("tmux-panes", "tmux, screen", TMUX, PANES_KEYS, DEBIAN, size=(120, 40)),
    Case("tmux-edited", "tmux, screen", BASH, ("tmux -u -f /dev/null\r", *EDIT_KEYS, DONE), DEBIAN),
    Case("tmux-wrapped", "tmux, screen", TMUX, WRAP_KEYS, LONG),
    Case("tmux-full-screen", "tmux, screen", TMUX, SCREENS_KEYS, DEBIAN),
    Case("tmux-typed", "tmux, screen", BASH, ("ls\r", "tmux -u -f /dev/null\r", "echo inside\r", DONE, "echo outside\r", DONE), DEBIAN),
    Case("screen-windows", "tmux, screen", BASH, (START_SCREEN, *SCREEN_KEYS, DONE), DEBIAN),
    Case("screen-edited", "tmux, screen", BASH, (START_SCREEN, *SCREEN_EDIT_KEYS, DONE), DEBIAN),
)  # fmt: skip
