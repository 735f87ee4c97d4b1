import tomllib

from hypothesis import given
from hypothesis import strategies as st

from bastion.options.kinds import quoted
from bastion.options.positions import key_lines
from tests.support.examples import examples

TEXT = '''# a comment
a = 1
b.c = "x # y"
[t]
list = [ 1,
  "a]", # ]
  { z = 1, y.q = 'v' },
]
long = """
[not.a.table]
k = 1 """
"q\\"k" = 2
[[r]]
n = 1
[[r]]
n = 2
[r.sub]
m = {}
[[r.arr]]
o = 1979-05-27 07:32:00
'''


def test_every_key_is_found():
    tomllib.loads(TEXT)
    lines = key_lines(TEXT)
    expected = {
        ("a",): 2,
        ("b", "c"): 3,
        ("t",): 4,
        ("t", "list"): 5,
        ("t", "list", 1): 6,
        ("t", "list", 2, "y", "q"): 7,
        ("t", "long"): 9,
        ("t", 'q"k'): 12,
        ("r", 0, "n"): 14,
        ("r", 1): 15,
        ("r", 1, "n"): 16,
        ("r", 1, "sub", "m"): 18,
        ("r", 1, "arr", 0, "o"): 20,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("not",) not in lines


def test_a_broken_text_gives_what_was_understood():
    assert key_lines('a = 1\nb = "') == {("a",): 1, ("b",): 2}
    assert key_lines("[a\n= ][") == {}


KEYS = st.text("ab-_1", min_size=1, max_size=3) | st.text(max_size=4).filter(lambda key: key.isprintable())
LEAVES = st.integers(-9, 9) | st.booleans() | st.text("ab\"'#[]{}=,\\ \t\n", max_size=6)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
DOCUMENTS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=4)


def write(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[ # here ]\n" + "".join(f"  {write(item)},\n" for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {write(item)}" for key, item in value.items()) + " }"
    return str(value)


def paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@examples(150)
@given(DOCUMENTS)
def test_every_path_of_a_document_has_a_line_with_its_key(document):
    text = ""
    for table, pairs in document.items():
        text += f"[{quoted(table)}]\n"
        for key, value in pairs.items():
            text += f"{quoted(key)} = {write(value)}\n"
    try:
        assert tomllib.loads(text) == document
    except tomllib.TOMLDecodeError:
        return  # an inline table with a list over several lines is not TOML 1.0
    lines, written = key_lines(text), text.split("\n")
    assert set(lines) == set(paths(document))
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert quoted(path[-1]) in written[line - 1]


@given(st.text("ab=[]{}\"'#.,\n\\ ", max_size=40))
def test_no_text_makes_the_walk_raise(text):
    assert all(line >= 1 for line in key_lines(text).values())
