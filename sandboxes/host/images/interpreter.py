"""code-interpreter: python-3.12 with plots, and the kernel that ``run_code`` talks to.

IPython runs the code; ``kernel.py`` is what stands between it and the host.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Final

from sandboxes.host.images import python
from sandboxes.host.images.workspace import Workspace

NAME: Final = "code-interpreter"
#: Where the kernel is in a sandbox.
KERNEL: Final = "/usr/local/lib/orkestr/kernel.py"
ENV: Final = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
_SOURCE: Final = Path(__file__).with_name("kernel.py")
#: IPython without its completer (jedi) and what only a terminal needs of it; nobody types here.
_WANTED = (
    "matplotlib==3.11.2 contourpy==1.3.3 cycler==0.12.1 fonttools==4.68.0 kiwisolver==1.5.1 "
    "pyparsing==3.3.3 ipython==9.18.1 ipython-pygments-lexers==1.1.1 matplotlib-inline==0.2.2 "
    "traitlets==5.16.1 stack-data==0.6.3 asttokens==3.0.2 executing==2.3.0 pure-eval==0.2.4 "
    "prompt-toolkit==3.0.53 wcwidth==0.9.4 pexpect==4.9.0 ptyprocess==0.7.0 decorator==5.2.1 "
    "psutil==7.2.2"
)
PACKAGES: Final = _WANTED.split()
#: Draws once, so that a first plot does not have to look for fonts.
_TRY = (
    "import IPython, pandas, matplotlib.pyplot as plt; plt.plot([1, 2]); plt.savefig('/dev/null')"
)


def describe() -> dict[str, Any]:
    source = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()
    return {"version": 1, "packages": PACKAGES, "kernel": source}


def build(workspace: Workspace) -> None:
    """Raises ``TemplateError``."""
    with workspace.step(f"install {len(PACKAGES)} libraries"):
        python.install(workspace, PACKAGES, alone=True)
    kernel = workspace.layer / KERNEL.lstrip("/")
    kernel.parent.mkdir(parents=True)
    shutil.copyfile(_SOURCE, kernel)
    for path in (kernel.parent, kernel):
        os.chown(path, 0, 0)
    with workspace.step("compile and try them"):
        site = f"/usr/local/lib/python{python.SERIES}/site-packages"
        workspace.chroot("python3", "-m", "compileall", "-q", site)
        workspace.chroot("env", "MPLBACKEND=agg", "python3", "-c", _TRY)
