"""Completion in bash, zsh and fish: each shell gets its own script, which offers commands and names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is typed is completed as the shell itself does it. Of zsh, whose completion needs a terminal, the
# function that the script defines is asked.
COMPLETE = {
    "bash": """
eval "$(pcam --show-completion)"
ask() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _pcam_completion pcam; echo "${COMPREPLY[@]}"
}
ask pcam ext; ask pcam features gl; ask pcam compare --spec
""",
    "zsh": """
autoload -Uz compinit; compinit -D
eval "$(pcam --show-completion)"
[ "$_comps[pcam]" = _pcam_completion ] || exit 1
_arguments() { print -r -- "$*"; }
ask() { words=("$@"); CURRENT=$#; _pcam_completion; }
ask pcam ext; ask pcam features gl; ask pcam compare --spec
""",
    "fish": """
pcam --show-completion | source
complete -C "pcam ext"; complete -C "pcam features gl"; complete -C "pcam compare --spec"
""",
}


@pytest.mark.parametrize("shell", COMPLETE)
def test_mechanics_a_shell_completes_commands_names_and_options(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    launcher = tmp_path / "bin" / "pcam"
    launcher.parent.mkdir()
    launcher.write_text(f"#!{sys.executable}\nfrom pcam_features.__main__ import main\nmain()\n")
    launcher.chmod(0o755)
    here = {
        "PATH": f"{launcher.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else []), "-c", COMPLETE[shell]],
        env=os.environ | here,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for expected in ("extract", "glcm", "glrlm", "glszm", "--specificity"):
        assert expected in done.stdout, shell
    assert "fit" not in done.stdout.split()
