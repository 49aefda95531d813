from __future__ import annotations

import pytest
import torch

from tasks.hardware.device import _isa_limit_allows_bfloat16, choose


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [(None, True), ("AVX2", False), ("AVX512_CORE", False), ("AVX512_CORE_BF16", True), ("AVX512_CORE_AMX", True)],
)
def test_an_older_instruction_set_has_no_fast_bfloat16(monkeypatch, limit, allowed):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert _isa_limit_allows_bfloat16() == allowed


def test_an_explicit_precision_is_used():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        device = choose("cpu", precision)
        with device.autocast():
            assert layer(x).dtype == dtype
        assert device.facts()["dtype"] == precision
