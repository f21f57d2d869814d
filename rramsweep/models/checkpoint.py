"""Loading of trained weights from a file into a model, with a message of one line for every defect of a file.

Weights are read as data only: `torch.load(weights_only=True)`, never a pickle that can run code.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from rramsweep.errors import ValidationError, install
from rramsweep.models.eager import deep_copy
from rramsweep.suggest import nearest, suggest

WEIGHTS = Path(__file__).parent / "weights"
# `model.checkpoint` of the weights that ship for a network; `embedded_NAME` of others for it.
EMBEDDED = "embedded"

# Keys under which training scripts save a state dict; averaged weights come last.
KEYS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "net_state_dict",
    "network",
    "params",
    "parameters",
    "weights",
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "ema_state_dict",
    "ema",
)

# Depth to which nested dicts are searched.
_DEPTH = 3

COUNTER = "num_batches_tracked"

# Buffers that the profiler thop adds to every module and does not remove.
PROFILER = ("total_ops", "total_params")

_RESAVE = "save it again with torch.save(model.state_dict(), path)"


def embedded_path(name: str, checkpoint: str = EMBEDDED) -> Path:
    """File of weights that ship for a factory: those of its recipe, or others that were trained on from them.

    Args:
        name: of the factory, e.g. `"lenet5"`.
        checkpoint: `"embedded"`, or e.g. `"embedded_noise_aware"`.

    Raises:
        ValueError: no weights ship for the factory, or not these; names those that do.
    """
    known = _embedded_names()
    if name not in known:
        raise ValueError(
            f"embedded weights exist for {', '.join(known)}, got {name!r}: choose one of these or give a file"
        )
    own = known[name]
    if checkpoint not in own:
        raise ValidationError(
            f"must be weights that ship for {name}",
            suggest(checkpoint, own),
            slot="model",
            parameter="checkpoint",
            value=checkpoint,
        )
    return WEIGHTS / f"{name}{checkpoint.removeprefix(EMBEDDED)}.pt"


def _embedded_names() -> dict[str, list[str]]:
    """Names of the weights that ship for each factory."""
    stems = sorted(path.stem for path in WEIGHTS.glob("*.pt"))
    names = [stem for stem in stems if not any(stem.startswith(f"{other}_") for other in stems)]
    own = {name: [stem for stem in stems if stem == name or stem.startswith(f"{name}_")] for name in names}
    return {name: [EMBEDDED + stem.removeprefix(name) for stem in each] for name, each in own.items()}


def is_embedded(checkpoint: str) -> bool:
    """True for the name of weights that ship: `embedded`, or `embedded_` with more and no ending of a file."""
    return checkpoint == EMBEDDED or (checkpoint.startswith(f"{EMBEDDED}_") and Path(checkpoint).suffix == "")


def weights_digest(model: nn.Module) -> str:
    """Hex SHA-256, cut to 32 digits, of a network's class and of every weight and buffer with its name."""
    sha = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    tensors = {**dict(model.named_buffers()), **model.state_dict()}
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:32]


def load_checkpoint(model: nn.Module, path: str | Path) -> list[str]:
    """Load the weights in `path` into `model`, in place: all of them, or, on an error, none.

    The file holds a state dict, or a dict with one under a usual key (`KEYS`) or as its only one; a `.safetensors` file
    needs the package safetensors, which comes with the extra `rramsweep[timm]`. A prefix that all names share and the
    model's names lack is removed: `module.` of `nn.DataParallel`, `_orig_mod.` of `torch.compile`, `model.` of a
    training framework. Names of an older version are translated if the model's own modules do so. Weights of another
    floating-point type are converted to the model's own. Batch counters (`num_batches_tracked`) may be of any type, or
    absent, as in files from before PyTorch 0.4.1: inference does not use them.

    Reads on the CPU; the model stays on its device.

    Returns:
        Notes, one sentence each: the removed prefix, and the chosen key if there were several.

    Raises:
        ValueError: one line that states constraint, value and remedy, if the file is missing or unreadable, is
            not a torch file, holds a pickle of code, a TorchScript module or an exported program, holds no state
            dict, or if names, shapes or types do not fit, or a weight is not finite (or not once converted to the
            model's type).
    """
    path = Path(path)
    own = model.state_dict()
    found, notes = _state_dict(_read(path), path)
    found, profiled = _without_profiler(found, own)
    state, prefix = _without_prefix(_with_counters(found, own), model)
    if prefix:
        notes.append(f"model.checkpoint: the prefix {prefix!r} was removed from every name in {path}")
    state = _with_counters(state, own)
    _check_names(state, own, profiled, path)
    _check_values(state, own, path)
    # strict=False only for the absent batch counters: every other name was checked above.
    model.load_state_dict(state, strict=False)
    return notes


def _read(path: Path) -> object:
    if not path.is_file():
        near = [] if path.suffix else nearest(str(path), chain.from_iterable(_embedded_names().values()), cutoff=0.8)
        remedy = f"did you mean {near[0]}?" if near else "check the path"
        raise ValueError(f"checkpoint must be an existing file, got {path}: {remedy}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    _refuse_programs(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch documents no set of errors: damaged files alone raise five types
        if isinstance(error, pickle.UnpicklingError) and _is_pickle_or_zip(path):
            raise ValueError(
                f"checkpoint must hold weights only, got a pickle of code or whole objects in {path}, which is never "
                f"run: {_RESAVE}"
            ) from None  # torch's own words advise to run it
        raise ValueError(
            f"checkpoint must be a complete file from torch.save, got {path}, which cannot be read "
            f"({type(error).__name__}): copy it again or {_RESAVE}"
        ) from error


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise ValueError(
            f"checkpoint {path} needs safetensors to be read, which is not installed: {install('timm')}"
        ) from None
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"checkpoint must be a complete safetensors file, got {path}, which cannot be read ({error}): copy it again"
        ) from error


def _refuse_programs(path: Path) -> None:
    """Check that a zip archive holds weights and not one of two kinds of compiled networks."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:  # an older format, or damaged: torch.load reports it afterwards
        return
    for mark, what, source in (
        ("constants.pkl", "a TorchScript module", "torch.jit.load(path).state_dict()"),
        ("archive_format", "an exported program", "torch.export.load(path).state_dict"),
        ("serialized_exported_program.json", "an exported program", "torch.export.load(path).state_dict"),
    ):
        if mark in names:
            raise ValueError(
                f"checkpoint must hold weights alone, got {what} in {path}, whose layers are compiled away and take no "
                f"chip's weights: save its weights with torch.save({source}, new_path) and choose the network in "
                "Python that it was made from"
            )


def _is_pickle_or_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2).startswith((b"\x80", b"PK"))


def _state_dict(loaded: object, path: Path) -> tuple[OrderedDict[str, Tensor], list[str]]:
    """The state dict in a loaded object, and notes on its place there."""
    notes = []
    for _ in range(_DEPTH):
        if not isinstance(loaded, Mapping) or all(isinstance(value, Tensor) for value in loaded.values()):
            break
        usual = [key for key in KEYS if isinstance(loaded.get(key), Mapping) and loaded[key]]
        others = [key for key, value in loaded.items() if key not in usual and _is_state_dict(value)]
        keys = usual or (others if len(others) == 1 else [])
        if not keys:
            if others:
                raise ValidationError(
                    "must hold one state dict (name -> tensor)",
                    "save one of them with torch.save(loaded[KEY], path)",
                    parameter="checkpoint",
                    shown=f"one under each of {', '.join(map(repr, others[:6]))} in {path}",
                )
            break
        if keys != usual or len(usual) + len(others) > 1:
            left = [*usual[1:], *(others if usual else [])]
            beside = f", not those under {', '.join(map(repr, left))}" if left else ""
            notes.append(f"model.checkpoint: the weights under {keys[0]!r} in {path} were taken{beside}")
        loaded = loaded[keys[0]]
    if not isinstance(loaded, Mapping) or not loaded:
        what = "an empty dict" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise ValueError(f"checkpoint must hold a state dict (name -> tensor), got {what} in {path}: {_RESAVE}")
    state: OrderedDict[str, Tensor] = OrderedDict()
    if hasattr(loaded, "_metadata"):  # versions of the saved modules, which some modules need to load
        state._metadata = copy.copy(loaded._metadata)  # type: ignore[attr-defined]
    for name, value in loaded.items():
        if isinstance(name, str) and name.endswith(COUNTER) and isinstance(value, int | float):
            value = torch.tensor(value)
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"checkpoint must hold a state dict (name -> tensor), got {type(value).__name__} under {name!r} in "
                f"{path}: {_RESAVE}, or put it under the key 'state_dict'"
            )
        state[name] = value
    return state, notes


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _with_counters(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state dict with batch counters as the model has them; a counter that is not a number is left out."""
    fitting = OrderedDict(state)
    if hasattr(state, "_metadata"):
        fitting._metadata = state._metadata  # type: ignore[attr-defined]
    for name, value in state.items():
        if name in own and name.endswith(COUNTER) and value.numel() == 1:
            if torch.isfinite(value).all():
                fitting[name] = value.to(own[name].dtype).reshape(own[name].shape)
            else:
                del fitting[name]
    return fitting


def _without_profiler(
    state: OrderedDict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[OrderedDict[str, Tensor], list[str]]:
    """The state dict without the counts of a profiler, and their names: those at the root have no prefix."""
    left = [name for name in state if name.rpartition(".")[2] in PROFILER]
    if not left or any(name.rpartition(".")[2] in PROFILER for name in own):
        return state, []
    state = copy.copy(state)  # with its metadata
    for name in left:
        del state[name]
    return state, left


def _without_prefix(state: OrderedDict[str, Tensor], model: nn.Module) -> tuple[Mapping[str, Tensor], str]:
    """The state dict in the model's names, and the prefix that was removed.

    If no prefix fits, the nearest one is taken, so that the error message names only the remaining differences.
    """
    own, prefix = model.state_dict(), ""
    candidates: list[tuple[Mapping[str, Tensor], str]] = []
    while True:
        candidates.append((state, prefix))
        first = next(iter(state), "").partition(".")[0] + "."
        if not state or not all(name.startswith(first) and name != first for name in state):
            break
        metadata = getattr(state, "_metadata", None)
        state = OrderedDict(state)
        if metadata is not None:
            state._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
        consume_prefix_in_state_dict_if_present(state, first)
        prefix += first
    for names, taken in candidates:
        if names.keys() <= own.keys():
            return names, taken
    for names, taken in candidates:
        translated = _translated(names, model)
        if translated is not names:
            return translated, taken
    return max(candidates, key=lambda each: len(each[0].keys() & own.keys()))


def _translated(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The state dict in the model's present names if its modules can translate all of them, else unchanged.

    Some modules rename entries while they load (torchvision's ViT does), so the state dict is loaded into a copy.
    """
    copied = deep_copy(model)
    try:
        missing, unexpected = copied.load_state_dict(state, strict=False, assign=True)
    except RuntimeError:  # a shape or type that does not fit is reported by name afterwards
        return state
    return state if missing or unexpected else copied.state_dict()


def _check_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor], profiled: Sequence[str], path: Path) -> None:
    missing = [name for name in own if name not in state and not name.endswith(COUNTER)]
    unexpected = [name for name in state if name not in own]
    if profiled and not unexpected and not missing:
        raise ValidationError(
            "must name exactly the model's weights",
            "take them out with {k: v for k, v in state.items() if not k.endswith(('total_ops', 'total_params'))} and "
            "save it again",
            parameter="checkpoint",
            shown=f"{len(profiled)} counts that the profiler thop left behind{_some(profiled)} in {path}",
        )
    if missing or unexpected:
        raise ValueError(
            f"checkpoint must name exactly the model's weights, got {len(missing)} missing{_some(missing)} and "
            f"{len(unexpected)} unexpected{_some(unexpected)} in {path}: choose the model that it was trained for"
        )


def _check_values(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    misfits = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in state.items()
        if value.shape != own[name].shape
    ]
    if misfits:
        raise ValueError(
            f"checkpoint must have the model's shapes, got {len(misfits)} that do not fit{_some(misfits)} in {path}: "
            f"choose the model that it was trained for"
        )
    for name, value in state.items():
        target = own[name].dtype
        _check_kind(name, value, target, path)
        # After conversion: a float64 weight may overflow the model's float32.
        if not torch.isfinite(value.to(target)).all():
            raise ValueError(
                f"checkpoint must have finite weights, got NaN or infinity in {name} in {path}: "
                f"train or export it again"
            )


def _check_kind(name: str, value: Tensor, target: torch.dtype, path: Path) -> None:
    """Check that a tensor has values, and that they are real and dense as in the model."""
    where = f"{name} in {path}"
    if value.is_meta:
        raise ValueError(
            f"checkpoint must hold the values of its tensors, got one on the meta device, which has none, in {where}: "
            "save the state dict of a network that has its weights"
        )
    if value.is_quantized:
        raise ValueError(
            f"checkpoint must have the model's types, got {value.dtype} for {target} in {where}: convert it with "
            "dequantize() before saving"
        )
    if value.layout != torch.strided:
        raise ValueError(
            f"checkpoint must hold dense tensors, got {value.layout} in {where}: convert it with to_dense() before "
            "saving"
        )
    if value.is_complex() and not target.is_complex:
        raise ValueError(
            f"checkpoint must have the model's types, got {value.dtype} for {target} in {where}: take its .real "
            "before saving, if its imaginary part is zero"
        )
    if target.is_floating_point != value.dtype.is_floating_point and not target.is_complex:
        remedy = (
            "multiply by the scale that it was quantised with, and save it as float32"
            if target.is_floating_point
            else f"convert it with to({target}) before saving"
        )
        raise ValueError(f"checkpoint must have the model's types, got {value.dtype} for {target} in {where}: {remedy}")


def _some(items: Iterable[str]) -> str:
    items = list(items)
    if not items:
        return ""
    return f" ({', '.join(items[:3])}{', ..' if len(items) > 3 else ''})"
