"""Compiles a network for training (torch.compile), which pays off in fits much longer than a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tasks.core.errors import ParamsError
from tasks.core.progress import say
from tasks.hardware.compiler import reason
from tasks.hardware.machine_cache import cache

SHAPES = 256  # maximum combinations of batch size, trainable blocks and modes compiled in one fit


@contextmanager
def compiled_fit(module: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Runs the module compiled, in place, within the context if `enabled`; its tensors keep their names.

    Each batch size is compiled separately, so that a resumed fit is bit-identical. Raises ParamsError if the module
    cannot be compiled.
    """
    if not enabled:
        yield
        return
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    os.environ.setdefault(
        "TORCHINDUCTOR_CACHE_DIR", str(cache("inductor"))
    )  # torch's default is a predictable path in /tmp
    say("compiling the trainable layers, which may take minutes")
    module.compile(dynamic=False)
    try:
        with config.patch(recompile_limit=SHAPES):
            yield
    except TorchDynamoException as error:
        raise ParamsError(
            f"finetune.compile: compilation failed: {reason(error)}; set finetune.compile to false",
            key="finetune.compile",
        ) from None
    finally:
        module._compiled_call_impl = None  # noqa: SLF001 - undoes compile(), which has no inverse
        torch.compiler.reset()
