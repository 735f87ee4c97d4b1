"""The player's parts in node: found, fetched once, kept within a size; words marked as text, marks bounded."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bastion.console.rendering import Pages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]

MADE = """
const made = (from, until, ended = false, channel = 1) => ({
  channel, from, until, ended, more: 0, lines: [[from, `line of ${from}`, 0]],
  changes: [[from, channel, [0, `screen of ${from}`], [0, 0], [80, 24], ""]],
});
const recording = { duration: 400, channels: [[1, "one", 80, 24], [2, "two", 80, 24]], parts: [made(0, 100)] };
const asked = [];
let answer = (channel, at) => made(at, at + 100, at + 100 >= 400, channel);
const ask = (channel, at, brief, signal) => {
  const one = { channel, at, brief, aborted: false };
  asked.push(one);
  signal.addEventListener("abort", () => { one.aborted = true; });
  return new Promise((well, badly) => {
    one.answer = () => { try { well(JSON.stringify(answer(channel, at))); } catch (error) { badly(error); } };
  });
};
const shown = (reel, channel, at) => reel.at(channel, at).lines[0];
const turn = (time = 0) => new Promise((well) => setTimeout(well, time));
Reel.WAIT = 1;
const said = [];
const say = (one) => said.push(one);
"""


def in_node(tmp_path: Path, program: str) -> Any:
    files = Pages().files
    text = files["player.js"].decode() + files["reel.js"].decode() + MADE
    (tmp_path / "test.js").write_text(
        f"{text}\n(async () => {{ {program} }})().then(() => console.log(JSON.stringify(said)));"
    )
    done = subprocess.run(["node", tmp_path / "test.js"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_moment_that_is_not_there_is_fetched_once_and_shown(tmp_path: Path) -> None:
    said = in_node(
        tmp_path,
        """
        const reel = new Reel(recording, ask);
        say([reel.ready(1, 50), reel.ready(1, 100), reel.ready(2, 50), shown(reel, 1, 50)]);
        let times = 0;
        const count = () => { times += 1; };
        for (const at of [250, 251, 250.5]) reel.want(1, at, count, say);  // somebody pulls at the slider
        await turn(20);
        reel.want(1, 250.7, count, say);  // the same again, while it is on its way
        await turn(20);
        say(asked.map((one) => [one.channel, one.at, one.brief]));
        asked[0].answer();
        await turn();
        say([times, reel.ready(1, 251), shown(reel, 1, 251), reel.lines(1, 251)[0][1], reel.around()]);
        """,
    )
    assert said[0] == [True, False, False, "screen of 0"]
    assert said[1] == [[1, 250.5, True]]
    assert said[2] == [1, True, "screen of 250.5", "line of 250.5", [250.5, 350.5]]


def test_another_wish_ends_the_one_before_and_the_next_part_comes_ahead(tmp_path: Path) -> None:
    said = in_node(
        tmp_path,
        """
        const reel = new Reel(recording, ask);
        shown(reel, 1, 50);
        reel.prefetch();
        reel.prefetch();
        say(asked.map((one) => [one.at, one.brief]));
        reel.want(1, 300, () => say("there"), say);
        await turn(20);
        asked[0].answer();  // too late, and kept all the same
        await turn();
        say([asked[0].aborted, asked.length, reel.ready(1, 150)]);
        asked[1].answer();
        await turn();
        say([shown(reel, 1, 399), reel.parts.find((one) => one.from === 300).ended]);
        reel.prefetch();
        say(asked.length);
        """,
    )
    assert said == [[[100, False]], [True, 2, True], "there", ["screen of 300", True], 2]


def test_what_fails_is_told_and_can_be_asked_for_again(tmp_path: Path) -> None:
    said = in_node(
        tmp_path,
        """
        const reel = new Reel(recording, ask);
        const right = answer;
        answer = () => { throw new Error("this part cannot be shown (503)"); };
        reel.want(1, 300, () => say("there"), say);
        await turn(20);
        asked[0].answer();
        await turn();
        answer = right;
        reel.want(1, 300, () => say("there"), say);
        await turn(20);
        asked[1].answer();
        await turn();
        """,
    )
    assert said == ["this part cannot be shown (503)", "there"]


def test_parts_are_kept_within_a_size_those_that_were_used_last(tmp_path: Path) -> None:
    said = in_node(
        tmp_path,
        """
        Reel.KEPT = 2000;
        const reel = new Reel({ ...recording, parts: [] }, ask);
        for (let at = 0; at < 3e6; at += 100) {
          reel.add(made(at, at + 100), 500);
          if (reel.ready(1, 0)) shown(reel, 1, 0);
        }
        say([reel.parts.length, reel.ready(1, 0), reel.ready(1, 100), reel.ready(1, 3e6 - 1)]);
        """,
    )
    assert said == [[4, True, False, True]]


def test_words_are_marked_as_text_and_marks_are_so_many(tmp_path: Path) -> None:
    said = in_node(
        tmp_path,
        """
        const mark = (text) => ({ text });
        say(withMarks("sudo RM -rf; rm it", ["rm", "rm -rf"], mark));
        say(withMarks("<img> plain", ["img", ""].filter(Boolean), mark));
        say(withMarks("nothing", [], mark));
        say(withMarks("\\u0130 rm", ["rm"], mark));
        const many = { duration: 10, commands: [], resizes: [[5, 1, 100, 30]], hits: [] };
        for (let at = 0; at < 100000; at++) many.commands.push([at / 10000, 1, "typed", `<b>${at}`, "", 0]);
        const marks = marksOf(many);
        say([marks.length, marks[1000], marks[0].text]);
        """,
    )
    assert said[0] == ["sudo ", {"text": "RM -rf"}, "; ", {"text": "rm"}, " it"]
    assert (
        said[1] == ["<", {"text": "img"}, "> plain"] and said[2] == ["nothing"] and said[3] == ["\u0130 rm"]
    )
    assert said[4] == [
        1001,
        {"kind": "resize", "time": 5, "channel": 1, "place": 500, "text": "100 x 30"},
        "<b>0",
    ]
