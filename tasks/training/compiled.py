"""What learns, compiled for training (torch.compile): for fits so long that they make up for a minute of compiling."""

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

SHAPES = 256  # sizes of a batch, blocks that learn and modes of a fit, each of which is compiled


@contextmanager
def compiled_fit(module: nn.Module, *, wanted: bool) -> Iterator[None]:
    """The module runs compiled in here, in place: its tensors keep their names.

    Each size of a batch has code of its own, so that a fit that was killed and goes on computes the same. Raises
    ParamsError where it cannot be compiled.
    """
    if not wanted:
        yield
        return
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache("inductor")))  # torch's own has a known name in /tmp
    say("what learns is compiled, which may take minutes")
    module.compile(dynamic=False)
    try:
        with config.patch(recompile_limit=SHAPES):
            yield
    except TorchDynamoException as error:
        raise ParamsError(f"finetune.compile: it cannot be compiled here, {reason(error)}; set it to false") from None
    finally:
        module._compiled_call_impl = None  # noqa: SLF001 - what compile() set, which has no opposite
        torch.compiler.reset()
