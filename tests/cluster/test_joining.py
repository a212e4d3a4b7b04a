"""Waiting for machines: what is said where there is no Ray; `test_slurm.py` waits for real ones."""

import re

import pytest
from driving import free_port

from sweeper.cluster.__main__ import main
from sweeper.cluster.joining import wait_for_machines


def test_an_address_where_nobody_answers_is_named_when_the_time_is_over() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(TimeoutError, match=re.escape(f"nobody answers at {address} (Connection refused) after 0 s")):
        wait_for_machines(1, address, seconds=0)


@pytest.mark.parametrize("address", ["", "local", "10.0.0.1"])
def test_an_address_without_a_port_is_refused_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(["wait", "2"]) == 1
    assert f"RAY_ADDRESS is {address!r}: set it to the HOST:PORT" in capsys.readouterr().err
