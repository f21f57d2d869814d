"""Build the API reference from docstrings with pdoc: `python docs/build.py FOLDER`. A warning of pdoc is an error."""

from __future__ import annotations

import gc
import pkgutil
import shutil
import sys
import types
import warnings
from pathlib import Path

import pandas as pd
from pdoc import doc, render

import rramsweep


def build(folder: Path) -> None:
    """Write a page for each module; what was in the folder before is deleted."""
    # The public names load on first use, and pdoc sees only what is loaded.
    vars(rramsweep).update({name: getattr(rramsweep, name) for name in rramsweep.__all__})
    # `pd.Series[Any]` is an annotation of pandas' stubs, and pdoc evaluates it.
    pd.Series.__class_getitem__ = classmethod(types.GenericAlias)
    # Page by page: `pdoc.pdoc` leaves out the modules of a package that has `__all__`.
    names = ["rramsweep", *(module.name for module in pkgutil.walk_packages(rramsweep.__path__, "rramsweep."))]
    modules = {name: doc.Module.from_name(name) for name in names if not name.endswith("__main__")}
    render.configure(docformat="google", template_directory=Path(__file__).parent, show_source=False)
    pages = {f"{name.replace('.', '/')}.html": render.html_module(module, modules) for name, module in modules.items()}
    pages |= {"index.html": render.html_index(modules), "search.js": render.search_index(modules)}
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


if __name__ == "__main__":
    warnings.filterwarnings("error", module="pdoc")
    # Inherited from a class of pandas, some of whose annotations cannot be evaluated.
    warnings.filterwarnings("ignore", r".* type annotation .* for pandas\.", module="pdoc")
    gc.disable()  # a fourth of the time, for memory that goes with the process anyway
    build(Path(sys.argv[1]))
