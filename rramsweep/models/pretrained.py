"""Networks of transformers, from a local folder that `save_pretrained` wrote."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from rramsweep.errors import ValidationError, install
from rramsweep.suggest import suggest

# Arguments that make transformers run code of a folder, or place or pack weights in a way that a chip cannot use.
_REFUSED = {
    "trust_remote_code": "write the network in a package of yours and choose model=custom",
    "quantization_config": "give the float network that it was made from",
    "load_in_8bit": "give the float network that it was made from",
    "load_in_4bit": "give the float network that it was made from",
    "device_map": "set accelerator=cuda",
    "torch_dtype": "bfloat16 is accelerator.precision",
    "dtype": "bfloat16 is accelerator.precision",
}

# Keys of a configuration that describe its origin and do not change what is computed.
_PROVENANCE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")

_FOLDER = "a folder with config.json and weights, as save_pretrained writes it"


def transformers_model(
    path: str, class_name: str, pretrained: bool = True, local_files_only: bool = True, **arguments: Any
) -> nn.Module:
    """A network of Hugging Face transformers from a folder; needs the extra `rramsweep[transformers]`.

    It returns a `ModelOutput`: select its tensor with `model.output`. It keeps no cache of keys and values.

    Args:
        path: the folder, or with `local_files_only=false` a name on the Hub.
        class_name: `AutoModel`, or the class of its family with the required head, such as
            `AutoModelForSequenceClassification`.
        pretrained: false builds an untrained network from config.json alone, for a `model.checkpoint`.
        local_files_only: false lets transformers fetch missing files, unless `TRANSFORMERS_OFFLINE=1` is set.
        arguments: passed on to the configuration, e.g. `num_labels` or `attn_implementation`.

    Raises:
        ValidationError: transformers is not installed, no such class or folder, weights that the folder lacks or that
            do not fit, or an argument that would run code of the folder.
    """
    for name, remedy in _REFUSED.items():
        if name in arguments:
            raise ValidationError("is not taken", remedy, parameter=name, value=arguments[name])
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ValidationError(
            "needs transformers, which is not installed",
            install("transformers"),
            parameter="model=transformers",
        ) from None
    auto = getattr(transformers, class_name, None) if str(class_name).startswith("AutoModel") else None
    if auto is None:
        known = [name for name in dir(transformers) if name.startswith("AutoModel")]
        raise ValidationError(
            "must be an AutoModel class of transformers",
            suggest(class_name, known),
            parameter="class_name",
            value=class_name,
        )
    if local_files_only and not (Path(path) / "config.json").is_file():
        raise ValidationError(
            f"must be {_FOLDER}",
            "correct it, or give a name on the Hub with model.local_files_only=false",
            parameter="path",
            value=path,
        )
    options = {"local_files_only": local_files_only, "trust_remote_code": False, **arguments}
    with _quiet(transformers):
        try:
            if pretrained:
                options["ignore_mismatched_sizes"] = True  # refused below, by name
                model, info = auto.from_pretrained(path, output_loading_info=True, **options)
            else:
                configuration = transformers.AutoConfig.from_pretrained(path, **options)
                model, info = auto.from_config(configuration, trust_remote_code=False), {}
        except Exception as error:  # damaged files, unknown networks and wrong arguments raise many types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
            raise ValidationError(
                f"must be {_FOLDER}, that {class_name} can read, but transformers says {reason!r}",
                "correct the folder, the class or the arguments",
                parameter="path",
                value=path,
            ) from error
    _check_loaded(info, path, class_name, getattr(model.config, "architectures", None))
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    network: nn.Module = model.float()
    return network


def configuration_digest(model: nn.Module) -> str:
    """Hex SHA-256, cut to 32 digits, of the part of a transformers configuration that decides what is computed."""
    found: dict[str, Any] = model.config.to_dict()  # type: ignore[operator, union-attr]
    kept = {key: value for key, value in found.items() if key not in _PROVENANCE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _check_loaded(info: dict[str, Any], path: str, class_name: str, architectures: list[str] | None) -> None:
    """Check that transformers has drawn no weights of a network at random."""
    for what, key in (("lacks", "missing_keys"), ("has in another shape", "mismatched_keys")):
        names = sorted(name if isinstance(name, str) else name[0] for name in info.get(key, ()))
        if names:
            saved = f" (it was saved as {', '.join(architectures)})" if architectures else ""
            more = ", ..." if len(names) > 3 else ""
            raise ValidationError(
                f"must hold all weights of {class_name}, but {what} {', '.join(names[:3])}{more}",
                f"choose the class that it was trained as{saved}: others would get random weights",
                parameter="path",
                value=path,
            )


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence progress bars and warnings of transformers; what they would report is checked and refused."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
