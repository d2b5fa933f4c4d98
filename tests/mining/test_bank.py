"""The bank against a plain dictionary of rows, its file, its checkpoint, and what it refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.errors import CheckpointError, ConfigError, RunError
from sslkit.mining.bank import MAPPED_BYTES, Bank, vector_bytes, wants_file

HALF = 6e-4  # what float16 rounds off entries of unit rows


def rows(count: int, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def unit(vector: Tensor) -> Tensor:
    return vector.double() / vector.double().norm(dim=-1, keepdim=True)


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_slots_hold_what_a_dictionary_of_rows_would(momentum: float) -> None:
    bank = Bank(20, 8, momentum=momentum)
    slow: dict[int, Tensor] = {}
    when: dict[int, int] = {}
    draw = torch.Generator().manual_seed(1)
    for step in range(30):
        numbers, vectors = torch.randint(0, 16, (7,), generator=draw), rows(7, seed=step) * 10
        bank.write(numbers, vectors, step)
        for id in set(numbers.tolist()):
            new = unit(vectors[max(i for i in range(7) if numbers[i] == id)])
            slow[id] = unit(momentum * slow[id] + (1 - momentum) * new) if id in slow else new
            when[id] = step
    held = torch.tensor(sorted(slow))
    assert bank.filled.tolist() == held.tolist()
    expected = torch.stack([slow[id] for id in held.tolist()])
    torch.testing.assert_close(bank.read(held).double(), expected, atol=6 * HALF, rtol=0)
    assert bank.age(held, 40).tolist() == [40 - when[id] for id in held.tolist()]
    assert bank.written.tolist() == [when.get(id, -1) for id in range(20)]


def test_reading_gives_unit_float32_rows_in_the_shape_of_the_ids() -> None:
    bank = Bank(10, 128)
    bank.write(torch.arange(6), rows(6, 128).to(torch.bfloat16), 0)
    read = bank.read(torch.arange(6).view(2, 3))
    assert (read.shape, read.dtype, read.device.type) == ((2, 3, 128), torch.float32, "cpu")
    torch.testing.assert_close(read.norm(dim=-1), torch.ones(2, 3), atol=1e-6, rtol=0)
    assert bank.read(ids(8)).abs().sum() == 0
    assert bank.read(torch.empty(0, 4, dtype=torch.int64)).shape == (0, 4, 128)


def test_slots_never_written_have_no_age_and_are_in_no_snapshot() -> None:
    bank = Bank(6, 8)
    bank.write(ids(4, 1), rows(2), 3)
    assert bank.age(torch.arange(6).view(2, 3), 10).tolist() == [[-1, 7, -1], [-1, 7, -1]]
    snapshot = bank.snapshot()
    assert snapshot.filled.tolist() == [1, 4]
    assert snapshot.holds(np.array([[0, 1], [4, 5]])).tolist() == [[False, True], [True, False]]


def test_of_rows_with_one_id_the_last_good_one_is_kept() -> None:
    bank = Bank(4, 8)
    vectors = rows(4)
    vectors[3] = torch.nan
    bank.write(ids(2, 2, 2, 2), vectors, 0)
    torch.testing.assert_close(bank.read(ids(2))[0].double(), unit(vectors[2]), atol=HALF, rtol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 0.0])
def test_rows_without_direction_are_counted_and_leave_their_slots_alone(bad: float) -> None:
    bank = Bank(5, 8)
    bank.write(ids(0, 1), rows(2), 0)
    vectors = rows(3, seed=1)
    vectors[1] = bad
    vectors[2, 3] = bad  # a single zero is no harm
    bank.write(ids(3, 1, 0), vectors, 7)
    assert bank.refused == (1 if bad == 0 else 2)
    assert bank.written.tolist() == [7 if bad == 0 else 0, 0, -1, 7, -1]
    torch.testing.assert_close(bank.read(ids(1))[0].double(), unit(rows(2)[1]), atol=HALF, rtol=0)
    assert bank.read(torch.arange(5)).isfinite().all()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_rows_keep_their_direction(scale: float) -> None:
    bank = Bank(3, 8)
    bank.write(torch.arange(3), rows(3) * scale, 0)
    torch.testing.assert_close(bank.read(torch.arange(3)).double(), unit(rows(3)), atol=HALF, rtol=0)


def test_opposite_rows_that_cancel_in_the_average_leave_the_new_one() -> None:
    bank = Bank(1, 8, momentum=0.5)
    bank.write(ids(0), rows(1), 0)
    bank.write(ids(0), -rows(1), 1)
    torch.testing.assert_close(bank.read(ids(0)).double(), -unit(rows(1)), atol=HALF, rtol=0)


def test_a_write_of_no_rows_changes_nothing() -> None:
    bank = Bank(3, 8, momentum=0.5)
    bank.write(ids(), torch.empty(0, 8), 4)
    assert len(bank.filled) == 0


def test_a_write_keeps_no_gradient_and_works_inside_autocast() -> None:
    vectors = rows(2).requires_grad_()
    bank = Bank(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bank.write(torch.arange(2), vectors, 0)
    read = bank.read(torch.arange(2))
    assert not read.requires_grad
    torch.testing.assert_close(read.double(), unit(rows(2)), atol=HALF, rtol=0)


def test_a_snapshot_is_left_alone_by_later_writes() -> None:
    bank = Bank(4, 8)
    bank.write(torch.arange(2), rows(2), 0)
    snapshot = bank.snapshot()
    before = snapshot.vectors.copy()
    bank.write(torch.arange(4), rows(4, seed=5), 1)
    np.testing.assert_array_equal(snapshot.vectors, before)
    assert snapshot.filled.tolist() == [0, 1]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_bank_goes_on_from_a_checkpoint_as_if_never_stopped(
    tmp_path: Path, mapped: bool, momentum: float
) -> None:
    def fresh(name: str) -> Bank:
        return Bank(12, 8, momentum=momentum, mapped=tmp_path / name if mapped else None)

    bank = fresh("a")
    spoilt = rows(9)
    spoilt[4] = torch.nan
    bank.write(torch.arange(9), spoilt, 0)
    torch.save(bank.state_dict(), tmp_path / "state.pt")
    resumed = fresh("b")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for other in (bank, resumed):
        other.write(torch.arange(3, 11), rows(8, seed=2), 5)
    for key, value in bank.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, atol=0, rtol=0)
    assert (resumed.refused, resumed.filled.tolist()) == (1, bank.filled.tolist())


def test_a_checkpoint_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(CheckpointError, match=r"12 x 8, this run needs one of 12 x 16"):
        Bank(12, 16).load_state_dict(Bank(12, 8).state_dict())
    with pytest.raises(CheckpointError, match=r"13 x 16.*12 x 16"):
        Bank(12, 16).load_state_dict(Bank(13, 16).state_dict())


def test_a_mapped_bank_is_in_its_file_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    file = tmp_path / "run" / "bank.f16"
    bank, plain = Bank(30, 8, mapped=file), Bank(30, 8)
    for each in (bank, plain):
        each.write(torch.arange(20), rows(20), 0)
    assert isinstance(bank.snapshot().vectors, np.memmap)
    np.testing.assert_array_equal(bank.snapshot().vectors, plain.snapshot().vectors)
    np.testing.assert_array_equal(np.fromfile(file, np.float16).reshape(30, 8), plain.snapshot().vectors)
    assert [path.name for path in file.parent.iterdir()] == ["bank.f16"]
    assert file.stat().st_size == bank.nbytes == 480


def test_ranks_that_name_one_file_do_not_cut_each_others_banks(tmp_path: Path) -> None:
    first = Bank(2000, 8, mapped=tmp_path / "bank.f16")
    first.write(torch.arange(2000), rows(2000), 0)
    before = first.read(torch.arange(2000))
    second = Bank(10, 8, mapped=tmp_path / "bank.f16")
    second.write(torch.arange(10), rows(10, seed=3), 0)
    torch.testing.assert_close(first.read(torch.arange(2000)), before, atol=0, rtol=0)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on a disk cannot be claimed here")
def test_a_disk_without_room_is_an_error_with_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"100 x 8.*1,600 bytes.*No space left"):
        Bank(100, 8, mapped=tmp_path / "bank.f16")
    assert list(tmp_path.iterdir()) == []


def test_a_million_samples_take_256_megabytes_and_no_file() -> None:
    assert vector_bytes(1_000_000, 128) == 256_000_000
    assert not wants_file(1_000_000, 128)
    assert not wants_file(MAPPED_BYTES // 256, 128)
    assert wants_file(MAPPED_BYTES // 256 + 1, 128)
    assert Bank(10, 128).nbytes == 2560


@pytest.mark.parametrize("bad", [-1, 5, 99])
def test_ids_outside_the_bank_are_named(bad: int) -> None:
    bank = Bank(5, 8)
    for use in (
        lambda: bank.write(ids(0, bad), rows(2), 0),
        lambda: bank.read(ids(0, bad)),
        lambda: bank.age(ids(0, bad), 0),
    ):
        with pytest.raises(ConfigError, match=rf"id {bad} is outside a bank of 5 slots"):
            use()
    assert len(bank.filled) == 0


def test_shapes_types_and_options_that_do_not_fit_are_refused() -> None:
    bank = Bank(5, 8)
    for numbers, vectors in [(ids(0), rows(2)), (ids(0), rows(1, 9)), (ids(0).view(1, 1), rows(1))]:
        with pytest.raises(ConfigError, match=r"takes \(N, 8\) for \(N,\)"):
            bank.write(numbers, vectors, 0)
    with pytest.raises(ConfigError, match=r"torch.int32; int64"):
        bank.read(ids(0).int())
    for momentum in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="at least 0 and less than 1"):
            Bank(5, 8, momentum=momentum)
    for count, dim in ((0, 8), (5, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            Bank(count, dim)
