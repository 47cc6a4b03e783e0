#!/usr/bin/env python3
"""Fails on an upward #include: a room may include only itself and rooms below it (docs/architecture.md)."""
import pathlib
import re
import sys

# Highest first, as in docs/architecture.md. Rooms that do not exist yet hold their place.
ROOMS = ["cli", "capi", "dialect", "serve", "rollout", "eval", "engine", "calibrate", "model", "quant", "verify", "text",
         "checkpoint", "backend", "fp8", "base"]
# Beyond the order: `verify` and `quant` must not know each other, so that one can judge the other.
FORBIDDEN = {("quant", "verify"), ("verify", "backend"), ("checkpoint", "backend")}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](octavo|cli)/([a-z0-9_]+)?')


def room_of(path: pathlib.Path, root: pathlib.Path) -> str:
    parts = path.relative_to(root).parts
    return "cli" if parts[0] == "cli" else parts[1]


def violations(root: pathlib.Path):
    for path in sorted([*root.glob("octavo/**/*.h"), *root.glob("octavo/**/*.cc"), *root.glob("cli/**/*.h"),
                        *root.glob("cli/**/*.cc")]):
        room = room_of(path, root)
        if room not in ROOMS:
            yield f"{path.relative_to(root)}: {room} is not a room"
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if not lines or not lines[0].startswith("//"):
            yield f"{path.relative_to(root)}:1: does not say what the file is for"
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = "cli" if match[1] == "cli" else match[2]
            where = f"{path.relative_to(root)}:{number}"
            if target not in ROOMS:
                yield f"{where}: includes {target}, which is not a room"
            elif ROOMS.index(target) < ROOMS.index(room) or (room, target) in FORBIDDEN:
                yield f"{where}: {room} may not include {target}"


def self_test(tmp: pathlib.Path):
    """The check itself must be able to fail."""
    (tmp / "octavo/fp8").mkdir(parents=True)
    (tmp / "octavo/fp8/a.h").write_text('// a\n#include "octavo/quant/spec.h"\n', encoding="utf-8")
    assert list(violations(tmp)) == ["octavo/fp8/a.h:2: fp8 may not include quant"]


if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        self_test(pathlib.Path(folder))
    found = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "no upward include")
    sys.exit(1 if found else 0)
