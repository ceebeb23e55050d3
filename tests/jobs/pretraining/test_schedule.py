"""The schedule against PyTorch's own cosine, stepped once an iteration with its period in iterations."""
import pytest
import torch

from jobs.pretraining.schedule import learning_rate, published_learning_rate


@pytest.mark.parametrize("floor", [0.0, 1e-5])
def test_without_warm_up_it_is_cosine_annealing_over_all_iterations(floor: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=floor)
    for iteration in range(50):
        assert learning_rate(iteration, 50, peak=1e-3, warmup=0, floor=floor) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        reference.step()


def test_the_warm_up_rises_in_equal_steps_to_the_peak_and_the_cosine_starts_there() -> None:
    rates = [learning_rate(i, 20, peak=1.0, warmup=4, floor=0.0) for i in range(20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.02


@pytest.mark.parametrize("floor", [0.0, 1e-5])
@pytest.mark.parametrize("paper", ["crosspoint", "crossnet", "adacrossnet"])
def test_the_published_schedules_are_cosine_annealing_stepped_where_the_papers_step_it(paper: str, floor: float) -> None:
    epochs, steps = 6, 5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=floor)
    optimizer.step()
    for iteration in range(epochs * steps):
        if paper == "crosspoint" and iteration % steps == 0:  # at the start of each epoch
            reference.step()
        found = published_learning_rate(paper, iteration, steps, epochs, peak=1e-3, floor=floor)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        if paper != "crosspoint":  # after each iteration, with a period in epochs
            reference.step()
