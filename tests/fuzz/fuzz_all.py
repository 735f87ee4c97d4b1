"""Coverage-guided fuzzing of every target with atheris: `python -m tests.fuzz.fuzz_all --seconds 60 [TARGET ...]`.

Each target runs in a process of its own, begins with the seeds in `tests/fuzz/seeds/TARGET` and with what earlier
runs found (`.fuzz/TARGET`, not committed). An input that breaks a target is kept in `.fuzz/` under a name that
begins with `TARGET-`; copy it to the seeds with the fix, and `make test` replays it for ever.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

SEEDS = Path(__file__).with_name("seeds")
FOUND = Path(__file__).parents[2] / ".fuzz"
MAX_SIZE = 8192


def fuzz_here(name: str, arguments: list[str]) -> None:
    """Never returns: atheris ends the process."""
    import atheris

    with atheris.instrument_imports(include=["bastion"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a child; False when it broke."""
    corpus = FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.fuzz_all", "--here", name),
        *(f"-max_total_time={seconds}", f"-max_len={MAX_SIZE}", "-print_final_stats=1", "-timeout=10"),
        *("-rss_limit_mb=1024", f"-artifact_prefix={FOUND}/{name}-", str(corpus), str(SEEDS / name)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stderr + done.stdout
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+)", said)
    print(
        f"{name:20} {int(runs[1]) if runs else 0:>10,} inputs  {covered[-1] if covered else '?':>6} edges"
        f"  {'ok' if done.returncode == 0 else 'BROKEN'}",
        flush=True,
    )
    if done.returncode:
        print(said[-6000:])
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description="fuzz every parser")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", metavar="TARGET", help="fuzz one target in this process (for the children)")
    parser.add_argument("names", nargs="*", metavar="TARGET")
    chosen, more = parser.parse_known_args()
    if chosen.here:
        fuzz_here(chosen.here, [*more, *chosen.names])
    try:
        import atheris  # noqa: F401
    except ImportError:
        raise SystemExit("fuzzing needs atheris: .venv/bin/pip install -e '.[fuzz]'") from None
    names = chosen.names or sorted(path.name for path in SEEDS.iterdir() if path.is_dir())
    results = [run(name, chosen.seconds) for name in names]
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
