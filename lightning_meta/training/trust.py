"""The classes that a checkpoint may name (docs/trust.md)."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import lightning_meta.nn
from lightning_meta import learners, rl
from lightning_meta.core import InputError
from lightning_meta.nn.build import find, makes_module

# fmt: off
TORCH = (
    "Linear", "Bilinear", "Identity", "Flatten", "Unflatten", "Embedding", "MultiheadAttention", "GRU", "LSTM",
    "RNN", "GRUCell", "LSTMCell", "RNNCell", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
    "ConvTranspose3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d",
    "InstanceNorm3d", "LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "Dropout", "Dropout1d", "Dropout2d",
    "Dropout3d", "AlphaDropout", "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU",
    "GLU", "SiLU", "Mish", "Sigmoid", "LogSigmoid", "Tanh", "Softplus", "Softsign", "Softmax", "LogSoftmax",
    "Hardtanh", "Hardsigmoid", "Hardswish", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d",
    "MaxPool3d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d", "ReflectionPad1d",
    "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle",
    "Upsample", "ModuleList", "ModuleDict",
)
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "glu", "silu", "mish", "sigmoid", "logsigmoid", "tanh",
    "softplus", "softsign", "softmax", "log_softmax", "softmin", "hardtanh", "hardsigmoid", "hardswish", "hardshrink",
    "softshrink", "tanhshrink", "rrelu", "normalize", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d",
)  # and other functions of a tensor and of numbers
OF_NUMBERS = ("relu", "selu", "celu", "sigmoid", "tanh", "sin", "cos", "exp", "square", "abs", "sqrt", "erf", "atan")
OF_NUMBERS += ("hardshrink",)
# fmt: on

NEVER = {*sys.stdlib_module_names, "lightning", "lightning_fabric", "pytorch_lightning", "torch"}
NEVER |= {"clusters", "datamodules", "lightning_meta"}  # of all these, what is harmless is on the list


def listed(package: ModuleType, names: Sequence[str]) -> Iterator[tuple[str, type[nn.Module]]]:
    """Yield the concrete classes of a package by the paths that a configuration may give: the package's, and their module's."""
    for name in names:
        kind = getattr(package, name)
        if inspect.isabstract(kind):
            continue
        yield f"{package.__name__}.{name}", kind
        yield f"{kind.__module__}.{name}", kind


KNOWN = {
    **dict(listed(learners, learners.__all__)),
    **dict(listed(rl, rl.__all__)),
    **dict(listed(lightning_meta.nn, lightning_meta.nn.__all__)),
    **dict(listed(nn, TORCH)),
}

FUNCTIONS = {  # by the paths that a configuration calls them
    **{f"torch.nn.functional.{name}": getattr(functional, name) for name in ACTIVATIONS},
    **{f"torch._C._nn.{getattr(functional, name).__name__}": getattr(functional, name) for name in ACTIVATIONS},
    **{f"torch.{name}": getattr(torch, name) for name in OF_NUMBERS},
}


class Trust:
    """Finds what a checkpoint names: a class on the list KNOWN or, in `packages` of a user's choice, a module's class or a
    function annotated to return a module. Nothing else is imported to find that out. `used` tells whether a package's was
    named so far."""

    def __init__(self, packages: Sequence[str] = ()):
        for package in packages:
            if not is_path(package):
                raise InputError(f"trust is {brief(package)}: give the name of a Python package, my_package say")
            if package.partition(".")[0] in NEVER:
                raise InputError(
                    f"trust is {package!r}, whose functions run what they are given: what is harmless there is on the list"
                    " already. Give the package of the class that the checkpoint names"
                )
        self.packages = tuple(packages)
        self.used = False

    def find(self, class_path: Any) -> Any:
        """Raises InputError where the path is neither on the list nor in a trusted package, or names no module there."""
        if not is_path(class_path):
            raise InputError(f"it names {brief(class_path)}, which is not the path of a class")
        if class_path in KNOWN:
            return KNOWN[class_path]
        found = self.imported(class_path)
        if not makes_module(found):
            raise InputError(
                f"it names {class_path!r}, which is not a torch module that Python finds, nor a function annotated to return"
                " one"
            )
        return self.at_home(found, class_path)

    def name(self, path: Any) -> Any:
        """The function or class that an argument names: one on the lists KNOWN and FUNCTIONS, or of a trusted package,
        which its class then calls as it likes. Raises InputError as `find` does."""
        if not is_path(path):
            raise InputError(f"it names {brief(path)}, which is not the path of a function or a class")
        if path in KNOWN or path in FUNCTIONS:
            return KNOWN.get(path) or FUNCTIONS[path]
        found = self.imported(path)
        if not (inspect.isfunction(found) or isinstance(found, type)):
            raise InputError(f"it names {path!r}, no function and no class that Python finds")
        return self.at_home(found, path)

    def imported(self, path: str) -> Any:
        """The object that a path in a trusted package names, or None; InputError where it is in no such package."""
        if not self.covers(path):
            raise InputError(f"it names {path!r}, {refusal(path)}")
        self.used = True
        try:
            return find(path)
        except Exception as error:  # the package's own, as it is imported
            raise InputError(f"it names {path!r}, and importing that failed: {brief(error)}") from error

    def at_home(self, found: Any, path: str) -> Any:
        """Return what was found. Raises InputError where its package only imports it from one that is not trusted."""
        home = f"{found.__module__}.{found.__qualname__}"
        listed_too = any(found is one for one in (*KNOWN.values(), *FUNCTIONS.values()))
        if not listed_too and not self.covers(home):
            raise InputError(f"it names {path!r}, which comes from {home}, {refusal(home)}")
        return found

    def covers(self, class_path: str) -> bool:
        return any(f"{class_path}.".startswith(f"{package}.") for package in self.packages)


def is_path(value: Any) -> bool:
    """Return whether a text could be the dotted path of a Python object."""
    return isinstance(value, str) and len(value) < 500 and all(part.isidentifier() for part in value.split("."))


def refusal(class_path: str) -> str:
    """Return the reason that a class is not built, and the way out."""
    package = class_path.partition(".")[0]
    why = "which is not on the list of classes that a checkpoint may name: building it would run its code"
    if package in NEVER:
        return f"{why}, and {package} is never trusted. In Python, load(path, learner) takes a learner that you built"
    return f"{why}. If you trust that package and this file, add --trust {package}; in Python load(path, trust=[{package!r}])"


def brief(value: object) -> str:
    """Return a text of a file or an error as one short line."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except (ValueError, RecursionError):  # of a number or a nest without end
        text = f"some {type(value).__name__}"
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text[:2000].split()))
    return line if len(line) <= 300 else f"{line[:300]}..."
