"""Take out of this interpreter's environment what a machine without a GPU never loads (for images: Docker, Binder).

    python scripts/slim_env.py        # prints how much went; refuses an environment with PyTorch's CUDA build

bitsandbytes carries its kernels for every CUDA, ROCm and XPU version, PyTorch the headers to compile extensions with, and several packages
their own tests. None is imported here; the packages stay installed in the pinned versions.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

UNUSED = (
    "bitsandbytes/libbitsandbytes_cuda*",
    "bitsandbytes/libbitsandbytes_rocm*",
    "bitsandbytes/libbitsandbytes_xpu*",
    "torch/include",
    "torch/test",
    "torch/bin/protoc*",
    "torch/bin/*test*",
    "pyarrow/include",
    "pyarrow/tests",
    "pandas/tests",
    "scipy/**/tests",
    "sklearn/**/tests",
    "statsmodels/**/tests",
    "sympy/**/tests",
)
"""Patterns below site-packages. `numpy/**/tests` is not among them: `numpy.testing` and others look there."""


def unused(site: Path) -> Iterator[Path]:
    """The files and folders of `site` that match, the outermost only."""
    matches = sorted({path for pattern in UNUSED for path in site.glob(pattern)})
    return (path for path in matches if not any(parent in matches for parent in path.parents))


def size(path: Path) -> int:
    """Bytes of a file or of all files below a folder."""
    return sum(file.lstat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def slim(site: Path) -> int:
    """Remove what is unused from `site`; returns the bytes that went."""
    gone = 0
    for path in unused(site):
        gone += size(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return gone


def main() -> int:
    """The command; exit status 1 where the parts are needed."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = ""
    if not torch.endswith("+cpu"):
        print(f"slim: only an environment with PyTorch's CPU build is made smaller (this one has {torch or 'none'})", file=sys.stderr)
        return 1
    print(f"slim: {slim(Path(sysconfig.get_path('purelib'))) / 1e6:.0f} MB less")
    return 0


if __name__ == "__main__":
    sys.exit(main())
