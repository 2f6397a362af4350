"""The log of a training, and signals as wishes."""

import json
import signal
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gen_rec.training.log import EventLog
from gen_rec.training.progress import Progress
from gen_rec.training.signals import stop_on_signals


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.jsonl", 0, tmp_path / "tensorboard")
    log.train(1, 0, 0.5, {"loss": 2.0, "generation": 1.5})
    log.valid(2, 0, {"raw/ndcg@10/eager-fused": 0.25}, 0.25, 3.5)
    log.close()
    assert lines(tmp_path / "log.jsonl") == [
        {"step": 1, "epoch": 0, "learning_rate": 0.5, "loss": 2.0, "generation": 1.5},
        {"step": 2, "epoch": 0, "valid/raw/ndcg@10/eager-fused": 0.25, "valid/selected": 0.25, "wall_s": 3.5},
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [(1, 2.0)]
    assert [(e.step, e.value) for e in board.Scalars("train/learning_rate")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in board.Scalars("valid/raw/ndcg@10/eager-fused")] == [(2, 0.25)]


def test_a_resumed_log_drops_what_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'{"step": 10, "loss": 3.0}\n{"step": 20, "loss": 2.0}\n{"loss": 1.0}\n{"step": 30, "loss": 1.0}\n'
        b'7\n{"step": 5, "lo\n\xff\xfe\n{"step": 4'
    )
    log = EventLog(path, 20)
    assert lines(path) == [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]
    log.train(30, 0, 0.1, {"loss": 1.1})
    assert lines(path)[-1] == {"step": 30, "epoch": 0, "learning_rate": 0.1, "loss": 1.1}


def test_a_new_training_starts_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0, "loss": 3.0}\n{"step": 20, "loss": 2.0}\n')
    EventLog(path, 0)
    assert path.read_text() == ""


def test_tensorboard_hides_the_steps_that_come_again(tmp_path: Path) -> None:
    first = EventLog(tmp_path / "log.jsonl", 0, tmp_path / "tensorboard")
    for step in (1, 2, 3):
        first.train(step, 0, 0.1, {"loss": float(step)})
    first.close()
    again = EventLog(tmp_path / "log.jsonl", 2, tmp_path / "tensorboard")
    again.train(3, 0, 0.1, {"loss": 33.0})
    again.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [(1, 1.0), (2, 2.0), (3, 33.0)]


def test_progress_round_trip() -> None:
    progress = Progress(epoch=3, step_in_epoch=4, step=99, best=0.5, best_epoch=2, waited=1, finished=True, wall_s=1.5)
    again = Progress()
    again.load_state_dict(progress.state_dict())
    assert again == progress


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_wish_and_the_second_one_an_order(signum: int) -> None:
    orders = []
    before = signal.signal(signum, lambda *_: orders.append(1))
    try:
        with stop_on_signals() as stop:
            assert not stop
            signal.raise_signal(signum)
            assert stop
            assert stop.signum == signum
            assert not orders
            signal.raise_signal(signum)
            assert orders == [1]
        signal.raise_signal(signum)
        assert orders == [1, 1]  # the handler that was there is back
    finally:
        signal.signal(signum, before)


def test_in_another_thread_signals_go_to_whoever_owns_them() -> None:
    seen = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
