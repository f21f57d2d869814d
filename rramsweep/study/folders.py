"""The folder of a sweep under outputs/, checked by its name before anything is made."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from rramsweep.errors import Sentence, ValidationError

OUTPUTS = "outputs"

# Bytes that a file system gives the name of one folder.
_LONGEST = 255


def check_name(name: str, store: str) -> None:
    """Check that a `name` has a folder of its own under outputs/.

    Args:
        name: of the sweep; `a/b` is a folder in a folder.
        store: of the facts, relative to where the command runs; neither may lie in the other.

    Raises:
        ValidationError: the name leads elsewhere, holds what a folder's name should not, or its folder is the store's.
    """
    wrong = _wrong(name)
    if wrong:
        raise ValidationError(
            f"must be a folder name under {OUTPUTS}/ {wrong}", "give a plain name", value=str(name), parameter="name"
        )
    check_can_be_folder(Path(OUTPUTS) / name, f"the folder of name={name}", "give another name")
    check_apart(Path(OUTPUTS) / name, Path(store), f"name={name}")


def check_can_be_folder(folder: Path, what: str, instead: str) -> None:
    """Check that a folder can be made: that nothing else has its name, or that of a folder it should lie in.

    A link that leads nowhere is such a thing: to make a folder in its place fails as if it were there.

    Args:
        folder: need not be there.
        what: it is, for the message.
        instead: what else to do than to move the other thing away.

    Raises:
        ValidationError: names what is in the way.
    """
    taken = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if taken is None or taken.is_dir():
        return
    kind = "a link that leads nowhere" if taken.is_symlink() and not taken.exists() else "a file"
    must = "be" if taken == folder else "lie in"
    raise ValidationError(Sentence(f"{what} must {must} a folder, but {taken} is {kind}"), f"remove it, or {instead}")


def check_apart(folder: Path, store: Path, given: str) -> None:
    """Check that a sweep's folder and the store are two folders, neither of which lies in the other.

    Args:
        folder: of the sweep.
        store: of the facts.
        given: the setting that says where the sweep's folder is, for the message.

    Raises:
        ValidationError: names both.
    """
    one, other = os.path.realpath(folder), os.path.realpath(store)
    if os.path.commonpath([one, other]) in (one, other):
        raise ValidationError(
            Sentence(f"{given} and store={store} must be folders apart, neither in the other"),
            "give another name or another store=DIR",
            shown=f"{folder} and {store}",
        )


def _wrong(name: str) -> str:
    """End of a sentence on what a folder's name should not have and this has; empty if it is a good one."""
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "of printable characters"
    if "\\" in name or name.startswith("~"):
        return "without a backslash, or ~ at its beginning"
    parts = name.split("/")
    if not all(parts):
        return "that is neither empty nor absolute, nor has an empty part"
    if any(part != part.strip() or part.endswith(".") for part in parts):
        return "without '..', and no part with a blank or dot at its end"
    if any(len(part.encode()) > _LONGEST for part in parts):
        return f"of at most {_LONGEST} bytes a part"
    return ""
