"""The run folder, stop requests, the optimiser and the loading of samples."""

import json
import os
import signal
import threading

import pytest
import torch
from torch.utils.data import Dataset

from fgsn.config import Settings, TrainSettings
from fgsn.errors import FgsnError
from fgsn.models.model_file import read_model_file, write_model_file
from fgsn.training import run as module
from fgsn.training.run import Run, choose_operations, fitting_workers, loaded, set_rate, settled, sgd
from fgsn.training.stop import stop_requests


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))


def stepped(net, optimiser, steps=2):
    for _ in range(steps):
        optimiser.zero_grad()
        net(torch.randn(2, 3, 9, 9)).square().mean().backward()
        optimiser.step()


def test_biases_get_twice_the_rate_and_no_decay():
    net = network()
    optimiser = sgd(net, 0.1, 0.01, lambda name: 0.5 if name.startswith("0.") else 1.0)
    assert len(optimiser.param_groups) <= 4
    groups = {id(parameter): group for group in optimiser.param_groups for parameter in group["params"]}
    found = {name: groups[id(parameter)] for name, parameter in net.named_parameters()}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in found.items()} == {
        "0.weight": (0.05, 0.01), "0.bias": (0.1, 0.0),
        "1.weight": (0.1, 0.01), "1.bias": (0.2, 0.0),
        "2.weight": (0.1, 0.01), "2.bias": (0.2, 0.0),
    }  # fmt: skip
    assert all(group["momentum"] == 0.9 and group["nesterov"] for group in optimiser.param_groups)


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_the_rate_falls_along_a_polynomial_and_is_never_zero(power):
    optimiser = sgd(network(), 0.1, 0.0, lambda name: 1.0)
    rates = []
    for step in range(10):
        assert set_rate(optimiser, step, 10, power) == pytest.approx((1 - step / 10) ** power)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1 * (1 - step / 10) ** power for step in range(10)])
    assert min(rates) > 0


def test_a_checkpoint_brings_weights_and_momentum_back(tmp_path):
    net = network()
    optimiser = sgd(net, 0.1, 0.01, lambda name: 1.0)
    stepped(net, optimiser)
    run = Run(tmp_path, Settings(), resume=False)
    run.save_checkpoint(2, net, optimiser, {"best": {"kappa": 0.5}})
    other = network()
    other_optimiser = sgd(other, 0.1, 0.01, lambda name: 1.0)
    found = Run(tmp_path, Settings(), resume=True).resume(other, other_optimiser, 9, {"best": dict})
    assert found == (2, [{"kappa": 0.5}])
    for pair in ((net, optimiser), (other, other_optimiser)):
        torch.manual_seed(7)
        stepped(*pair)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def channels_last(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3), torch.nn.Conv2d(4, 2, 1)
    return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)


def fused(net):
    """The optimiser as on a GPU."""
    optimiser = sgd(net, 0.1, 0.01, lambda name: 1.0)
    for group in optimiser.param_groups:
        group["fused"] = True
    return optimiser


def test_gradients_and_momentum_have_the_memory_layout_of_their_parameters(tmp_path):
    """The fused update reads them as if they had; torch does not check it on a CPU."""
    net = channels_last()
    optimiser = fused(net)
    stepped(net, optimiser)
    Run(tmp_path, Settings(), resume=False).save_checkpoint(2, net, optimiser, {})
    other = channels_last(seed=1)
    resumed = fused(other)
    Run(tmp_path, Settings(), resume=True).resume(other, resumed, 9, {})
    assert not net[2].weight.is_contiguous()
    for network, state in ((net, optimiser.state), (other, resumed.state)):
        for parameter in network.parameters():
            assert parameter.stride() == state[parameter]["momentum_buffer"].stride()
            assert parameter.grad is None or parameter.stride() == parameter.grad.stride()
    for pair in ((net, optimiser), (other, resumed)):
        torch.manual_seed(7)
        stepped(*pair)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_fused_update_is_the_plain_one():
    nets = channels_last(), channels_last()
    optimisers = fused(nets[0]), sgd(nets[1], 0.1, 0.01, lambda name: 1.0)
    assert not any(group["fused"] for group in optimisers[1].param_groups)  # on a CPU
    for net, optimiser in zip(nets, optimisers, strict=True):
        torch.manual_seed(7)
        stepped(net, optimiser, steps=4)
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("by_setting", [False, True])
def test_cudnn_tries_its_convolutions_unless_training_is_to_be_deterministic(monkeypatch, by_user, by_setting):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    expected = by_user or by_setting
    with torch.backends.cudnn.flags(benchmark=expected, allow_tf32=torch.backends.cudnn.allow_tf32):
        torch.use_deterministic_algorithms(by_user)
        try:
            choose_operations(by_setting)
            assert torch.are_deterministic_algorithms_enabled() is expected
            assert torch.backends.cudnn.benchmark is not expected
            assert torch.is_deterministic_algorithms_warn_only_enabled() is (by_setting and not by_user)
            choose_operations(False)  # the next training
            assert torch.are_deterministic_algorithms_enabled() is by_user
            assert torch.backends.cudnn.benchmark is not by_user
        finally:
            torch.use_deterministic_algorithms(False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's


def test_what_was_logged_after_the_checkpoint_is_dropped_on_resume(tmp_path):
    run = Run(tmp_path, Settings(), resume=False)
    net = network()
    optimiser = sgd(net, 0.1, 0.0, lambda name: 1.0)
    run.log({"step": 3, "loss": 1.0})
    run.save_checkpoint(3, net, optimiser, {})
    run.log({"step": 3, "clustering": {"clusters": 4}})
    run.log({"step": 4, "loss": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    run.close()
    again = Run(tmp_path, Settings(), resume=True)
    again.resume(net, optimiser, 9, {})
    again.log({"step": 4, "loss": 0.25})
    again.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 3, "loss": 1.0}, {"step": 4, "loss": 0.25}]


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    run = Run(tmp_path, Settings(), resume=False)
    run.log({"step": 1, "loss": 1.0})
    run.close()
    assert resumed(tmp_path) is None
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    run = Run(tmp_path, Settings(), resume=False)
    run.log({"step": 1, "loss": 1.0})
    run.close()
    with pytest.raises(FgsnError, match=f"{tmp_path} already contains a run: add --resume"):
        Run(tmp_path, Settings(), resume=False)


def test_a_start_that_failed_does_not_block_its_folder(tmp_path):
    Run(tmp_path, Settings(), resume=False)
    Run(tmp_path, Settings(seed=1), resume=False)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FgsnError, match="contains no run to resume: omit --resume"):
        Run(tmp_path / "none", Settings(), resume=True)


def test_other_settings_are_named(tmp_path):
    Run(tmp_path, Settings(seed=1), resume=False)
    with pytest.raises(FgsnError, match=r"cannot resume .* \(seed was 1, now 2\)"):
        Run(tmp_path, Settings(seed=2), resume=True)
    Run(tmp_path, Settings(seed=1, device="cpu"), resume=True)


@pytest.mark.parametrize("fast", [False, True])
def test_auto_is_bfloat16_on_a_gpu_that_has_it(tmp_path, monkeypatch, fast):
    monkeypatch.setattr(module, "computes_bfloat16", lambda device: fast)
    given = {"data": (tmp_path,), "init": tmp_path, "out": tmp_path}
    for device, chosen in (("cpu", "float32"), ("cuda", "bfloat16" if fast else "float32")):
        assert settled(TrainSettings(**given), torch.device(device)).precision == chosen
        for precision in ("float32", "bfloat16"):
            explicit = TrainSettings(**given, precision=precision)
            assert settled(explicit, torch.device(device)) is explicit


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_keeps_its_precision_wherever_it_goes_on(tmp_path, monkeypatch, precision):
    monkeypatch.setattr(module, "computes_bfloat16", lambda device: True)
    given = {"data": (tmp_path,), "init": tmp_path, "out": tmp_path}
    Run(tmp_path, TrainSettings(**given, precision=precision), resume=False)
    for device in ("cpu", "cuda"):
        now = settled(TrainSettings(**given, resume=True), torch.device(device))
        assert now.precision == precision
        Run(tmp_path, now, resume=True)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision]
    with pytest.raises(FgsnError, match=f"precision was '{precision}', now '{other}'"):
        Run(tmp_path, TrainSettings(**given, precision=other), resume=True)


def test_workers_supply_a_gpu_and_leave_a_cpu_alone(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [fitting_workers(None, device) for device in (cpu, gpu)] == [0, 6]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [fitting_workers(None, gpu), fitting_workers(9, gpu), fitting_workers(2, cpu)] == [3, 9, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert fitting_workers(None, gpu) == 0


def test_a_damaged_checkpoint_is_told(tmp_path):
    run = Run(tmp_path, Settings(), resume=False)
    run.checkpoint.parent.mkdir()
    run.checkpoint.write_bytes(b"xx")
    with pytest.raises(FgsnError, match=r"cannot load .*last\.safetensors"):
        resumed(tmp_path)


def resumed(folder, iterations=9, **kinds):
    net = network()
    return Run(folder, Settings(), resume=True).resume(net, sgd(net, 0.1, 0.0, lambda name: 1.0), iterations, kinds)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors, facts: facts.pop("step"), "it has no valid step"),
        (lambda tensors, facts: facts.update(step=2.5), "it has no valid step"),
        (lambda tensors, facts: facts.update(step=10), "it is at step 10 of 9"),
        (lambda tensors, facts: facts.update(logged="x"), "it has no valid logged"),
        (lambda tensors, facts: facts.pop("clustered"), "it has no valid clustered"),
        (lambda tensors, facts: facts.update(clustered=[1]), "it has no valid clustered"),
        (lambda tensors, facts: tensors.pop("network.0.bias"), "Missing key"),
        (lambda tensors, facts: tensors.update({"network.0.bias": torch.zeros(7)}), "size mismatch for 0.bias"),
        (
            lambda tensors, facts: tensors.update({"momentum.0.bias": torch.zeros(7)}),
            "the momentum of 0.bias has",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_named(tmp_path, change, says):
    run, net = Run(tmp_path, Settings(), resume=False), network()
    run.save_checkpoint(3, net, sgd(net, 0.1, 0.0, lambda name: 1.0), {"clustered": 0})
    tensors, facts = read_model_file(run.checkpoint)
    change(tensors, facts)
    write_model_file(run.checkpoint, tensors, facts)
    with pytest.raises(FgsnError, match=rf"last\.safetensors is not a checkpoint of this run: .*{says}"):
        resumed(tmp_path, clustered=int)


def test_a_run_of_which_every_step_was_skipped_is_not_finished(tmp_path):
    run = Run(tmp_path, Settings(), resume=False)
    for step in (1, 2):
        run.skip(step, {"loss": torch.tensor(torch.nan)}, [])
    run.require_steps(3)
    with pytest.raises(FgsnError, match="all 2 steps were skipped"):
        run.require_steps(2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_becomes_an_interrupt_at_the_end(number):
    before = signal.getsignal(number)
    reached = False
    with pytest.raises(KeyboardInterrupt) as stopped, stop_requests() as stop:  # noqa: PT012
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        reached = True
    assert reached
    assert stopped.value.args == (number.name,)
    assert signal.getsignal(number) is before


def test_the_second_signal_stops_at_once():
    with pytest.raises(KeyboardInterrupt) as stopped, stop_requests():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on after the second signal")
    assert stopped.value.args == ("SIGTERM",)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_a_phase_of_minutes_the_first_signal_stops_at_once(capsys):
    with pytest.raises(KeyboardInterrupt) as stopped, stop_requests() as stop, stop.at_once():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on after the signal")
    assert stopped.value.args == ("SIGTERM",)
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert capsys.readouterr().err == "fgsn: stopping after this step; once more stops at once\n"
        with stop.at_once():
            pytest.fail("began after a request")


def test_an_error_is_not_hidden_by_a_request():
    with pytest.raises(FgsnError, match="broken"), stop_requests():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        raise FgsnError("broken")


def test_in_another_thread_signals_are_left_alone():
    found = []

    def work():
        with stop_requests() as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


class Numbers(Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, index):
        if index == 7:
            raise FgsnError("image 7.png is broken")
        return index, os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_come_in_order_and_errors_in_one_line(workers):
    found = []
    with pytest.raises(FgsnError) as error:  # noqa: PT012
        for item in loaded(Numbers(), workers, torch.device("cpu")):
            found.append(item)
    assert str(error.value) == "image 7.png is broken"
    assert [index for index, _ in found] == list(range(7))
    assert len({process for _, process in found} - {os.getpid()}) == workers
