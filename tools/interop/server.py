"""Starts `octavo serve` for the checks that talk to it."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "secret"


def start(octavo, model=ROOT / "models/abacus", name="abacus"):
    """The process and its address. It ends with the caller's terminate() or kill()."""
    server = subprocess.Popen([octavo, "serve", str(model), "--port", "0", "--api-key", KEY, "--served-model-name",
                               name], stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if found := re.search(r"at (http://\S+)", line):
            return server, found[1]
    raise SystemExit("the server did not start")
