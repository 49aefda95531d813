from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tasks.core.schema import Curve
from tasks.training.checkpoint import FileCheckpoint, digest_of
from tasks.training.losses.cross_entropy import cross_entropy
from tests.training.small_fit import SCHEDULE, Killed, trained

AVERAGED = replace(SCHEDULE, ema_decay=0.9, max_grad_norm=1.0, accumulation_steps=2)


def test_a_checkpoint_is_what_was_saved_last(tmp_path):
    checkpoint = FileCheckpoint(tmp_path / "deep" / "c.safetensors")
    assert checkpoint.load() is None
    for epoch in (1, 2):
        checkpoint.save({"w": torch.full((2,), float(epoch))}, {"epoch": epoch, "rows": [{"loss": 0.1 + 0.2}]})
    tensors, values = checkpoint.load()
    assert (tensors["w"].tolist(), values) == ([2.0, 2.0], {"epoch": 2, "rows": [{"loss": 0.1 + 0.2}]})


def test_a_fits_digest_changes_with_code_files_and_values(tmp_path):
    def digest(code: str = "tasks.finetune", rate: int = 1) -> str:
        return digest_of(code, [tmp_path / "a"], {"rate": rate})

    (tmp_path / "a").write_text("a")
    first = digest()
    assert first == digest() != digest(rate=2)
    assert first != digest("tasks.embedded.pretraining")
    (tmp_path / "a").write_text("b")
    assert first != digest()


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize(("schedule", "every"), [(SCHEDULE, 0), (AVERAGED, 2)])
def test_a_run_that_was_killed_ends_with_the_same_weights_bit_by_bit(tmp_path, last, schedule, every):
    """This includes the epoch from which one more block is trained, and a moving average."""
    undisturbed, _ = trained(tmp_path / "a.safetensors", schedule, every=every)

    def die(row):
        if row[Curve.EPOCH] == last:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "b.safetensors", schedule, on_row=die, every=every)
    rows = []
    resumed, progress = trained(tmp_path / "b.safetensors", schedule, on_row=rows.append, every=every)
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [row[Curve.EPOCH] for row in rows] == [0, 1, 2, 3, 4]
    assert progress.epoch == 4


def test_a_truncated_checkpoint_is_set_aside(tmp_path, capsys):
    undisturbed, _ = trained(tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(whole[: len(whole) // 2])
    again, _ = trained(tmp_path / "b.safetensors")
    assert "set aside and the fit starts over" in capsys.readouterr().out
    assert (tmp_path / "b.damaged").stat().st_size == len(whole) // 2
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_resumed_run_keeps_the_number_of_micro_batches(tmp_path):
    """Failed attempts draw random numbers too, so a resumed run must not fail more often than an undisturbed one."""

    def greedy(network, batch):
        loss = cross_entropy()(network, batch)
        if len(batch.inputs) > 4:
            raise torch.OutOfMemoryError("no more")
        return loss

    def die(row):
        if row[Curve.EPOCH] == 2:
            raise Killed

    undisturbed, _ = trained(tmp_path / "a.safetensors", loss=greedy)
    with pytest.raises(Killed):
        trained(tmp_path / "b.safetensors", on_row=die, loss=greedy)
    resumed, progress = trained(tmp_path / "b.safetensors", loss=greedy)
    assert progress.parts == 2
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
