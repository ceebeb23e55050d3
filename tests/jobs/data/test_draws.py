import subprocess
import sys

import numpy as np
import pytest

from jobs.data.draws import batch_order, generator, sample_generator, share, step_seed


def test_a_stream_is_the_same_in_another_process_whatever_its_hash_seed() -> None:
    code = "from jobs.data.draws import *; print(sample_generator(1, 2, 'a/b', 'view 1').random(4).tolist(), step_seed(3, 4))"
    said = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(n)}).stdout
        for n in (0, 1)
    }
    assert said == {f"{sample_generator(1, 2, 'a/b', 'view 1').random(4).tolist()} {step_seed(3, 4)}\n"}


def test_every_part_of_the_key_changes_the_stream() -> None:
    keys = [(0, 0, "a", "x"), (1, 0, "a", "x"), (0, 1, "a", "x"), (0, 0, "b", "x"), (0, 0, "a", "y")]
    firsts = {float(sample_generator(*key).random()) for key in keys}
    assert len(firsts) == len(keys)


def test_keys_that_read_alike_when_joined_are_different() -> None:
    assert generator("a", "b").random() != generator("ab", "").random()
    assert generator(1, 23).random() != generator(12, 3).random()
    assert generator(1).random() != generator("1").random()


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (32, 32), (100, 7), (5, 1)])
def test_an_epoch_visits_shapes_once_and_drops_the_incomplete_batch(count: int, batch: int) -> None:
    order = batch_order(7, 0, count, batch)
    assert order.shape == (count // batch, batch)
    assert len(set(order.ravel().tolist())) == order.size
    assert order.min() >= 0 and order.max() < count


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert np.array_equal(batch_order(1, 2, 50, 5), batch_order(1, 2, 50, 5))
    assert not np.array_equal(batch_order(1, 2, 50, 5), batch_order(1, 3, 50, 5))
    assert not np.array_equal(batch_order(1, 2, 50, 5), batch_order(2, 2, 50, 5))


def test_a_batch_larger_than_the_dataset_is_refused_naming_both() -> None:
    with pytest.raises(ValueError, match=r"batch is 33 .* holds 32 shapes: lower pretrain.batch"):
        batch_order(0, 0, 32, 33)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [5, 20, 32])
def test_the_shares_of_all_ranks_are_the_batch_and_differ_by_one_at_most(world: int, rows: int) -> None:
    batch = np.arange(rows)[::-1].copy()
    shares = [share(batch, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate(shares), batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        share(np.arange(4), 2, 2)


def test_step_seeds_fit_a_torch_generator_and_differ() -> None:
    seeds = {step_seed(seed, step) for seed in range(3) for step in range(100)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
