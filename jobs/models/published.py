"""State dicts that CrossPoint, CrossNet and AdaCrossNet publish, read strictly into our encoders.

Their files hold the whole point model of a pretraining: the encoder, often its projection `inv_head.*`, sometimes under the `module.` of
DataParallel or DDP, and layers under two names (`bn1` is the module that `conv1.1` is) or never used.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .projection import inv_head

# Neighbours of an EdgeConv that each project pretrains its DGCNN with.
NEIGHBOURS = {"crosspoint": 15, "crossnet": 20, "adacrossnet": 20}
WRAPPERS = ("model_state_dict", "state_dict", "model")  # keys under which training scripts put the state dict
HEAD = "inv_head."
PREFIX = re.compile(r"^(module\.)+")  # of DataParallel and DDP, once a wrapping
LAYER_TENSORS = "weight|bias|running_mean|running_var|num_batches_tracked"


@dataclass
class Reading:
    """An encoder's state dict out of a published file, and a line for every tensor of the file that it does not hold."""

    weights: dict[str, Tensor]
    left_out: list[str] = field(default_factory=list)


def read_file(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.pth` file, its wrapping and its `module.` prefix removed; runs no code of the file.

    ValueError, saying what the file is and what to do, when it is missing, damaged, a pickled module, no state dict, or holds a name twice.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except Exception as error:  # a damaged file makes torch's readers raise nearly anything: KeyError, TypeError, UnicodeDecodeError ...
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise ValueError(
                f"{path} cannot be read as a PyTorch file ({_reason(error)}): is it whole, and was it written by torch.save? "
                "Fetch it again and compare its size with the source's"
            ) from None
        raise ValueError(
            f"{path} is no plain state dict: it refers to {refused.group(1)}. A whole pickled module runs code when it is loaded and is "
            "refused; where the model's own code is at hand, save its weights alone: torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds {_what(found)}, no state dict (names to tensors): save model.state_dict() with torch.save")
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        bare = PREFIX.sub("", str(name))
        if bare in state:
            raise ValueError(f"{path} holds {bare} twice, with and without the prefix 'module.': save one model's weights alone")
        state[bare] = value
    return state


def fit(state: Mapping[str, Tensor], encoder: nn.Module) -> Reading:
    """The part of a published state dict that is `encoder`'s, with every other tensor accounted for.

    ValueError listing every name that is missing, unknown, of another shape, complex or not finite. `encoder.published_extras` are the
    layers that its published model holds and its features do not use: "bn7." that module, "convs" those of that name with a number.
    """
    own, head = encoder.state_dict(), inv_head(int(encoder.feature_dim)).state_dict()  # type: ignore[arg-type]
    extras = _names_of_layers(getattr(encoder, "published_extras", ()))
    weights, left_out, faults = {}, [], []
    for name, value in state.items():
        if name in own:
            if value.shape != own[name].shape:
                faults.append(f"{name}: shape {list(value.shape)}, expected {list(own[name].shape)}")
            elif odd := _oddity(value):
                faults.append(f"{name}: {odd}")
            else:
                weights[name] = value.to(own[name].dtype)
            continue
        twin = _twin(name)
        if twin in own:
            if value.shape != own[twin].shape:
                faults.append(f"{name}: shape {list(value.shape)}, expected {list(own[twin].shape)} as {twin}")
            elif odd := _oddity(value):
                faults.append(f"{name}: {odd}")
            same = twin in state and not _oddity(state[twin]) and torch.equal(value, state[twin])
            other = "" if same else ", whose other values are used, as the published code does"
            left_out.append(f"{name}: another name of {twin}{other}")
        elif name.removeprefix(HEAD) in head and name.startswith(HEAD):
            wanted = head[name.removeprefix(HEAD)].shape
            odd = "" if value.shape == wanted else f", of shape {list(value.shape)} where this encoder's would be {list(wanted)}"
            left_out.append(f"{name}: the projection{odd}; features are taken before it")
        elif extras.fullmatch(name):
            left_out.append(f"{name}: not used by the encoder's features")
        else:
            faults.append(f"{name}: unknown to {type(encoder).__name__}")
    faults += [f"{name}: missing" for name in own if name not in state]
    if faults:
        raise ValueError(
            f"the state dict does not fit {type(encoder).__name__} ({len(faults)} of {len(state)} names; is it another backbone's?):\n  "
            + "\n  ".join(faults)
        )
    return Reading(weights, left_out)


def _twin(name: str) -> str:
    """`bn3.weight` -> `conv3.1.weight`, also inside a module; RPC's `q_conv.weight` -> `k_conv.weight`: one tensor under two names."""
    return re.sub(r"(^|\.)bn(\d+)\.", r"\1conv\2.1.", name).replace("q_conv.", "k_conv.")


def _names_of_layers(layers: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the tensors of these layers, alone or in a Sequential, and of no layer whose name only begins alike."""
    modules = [re.escape(layer.removesuffix(".")) + ("" if layer.endswith(".") else r"\d+") for layer in layers]
    return re.compile(rf"({'|'.join(modules) or '(?!)'})\.(\d+\.)?({LAYER_TENSORS})")


def _oddity(value: Tensor) -> str:
    """Why a tensor cannot stand in an encoder; nothing where it can."""
    if value.is_complex():
        return "complex values"
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return "a sparse, quantized or empty tensor, not plain values"
    return "" if bool(torch.isfinite(value.float()).all()) else "values that are not finite"


def _reason(error: Exception) -> str:
    """In one line; the advice that torch adds, to load the file with weights_only=False, is the one not to follow."""
    line = (str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}" if line else type(error).__name__


def _what(found: object) -> str:
    if isinstance(found, Mapping):
        odd = next((f"{key!r}: {type(value).__name__}" for key, value in found.items() if not isinstance(value, Tensor)), "nothing")
        return f"a mapping with {odd}"
    return f"a {type(found).__name__}"
