"""How the master is spoken to, as the settings say."""

from pathlib import Path

import pytest

from daemonkit.errors import OperatorError
from framework.settings import FrameworkSettings


def test_tls_is_asked_for_by_the_address_or_by_its_setting() -> None:
    assert FrameworkSettings(master="master:5050").master_tls() is None
    assert FrameworkSettings(master="https://master:5050").master_tls() is not None
    found = FrameworkSettings(master="zk://zk:2181/mesos", mesos_tls=True, mesos_verify_hostname=False).master_tls()
    assert found is not None and not found.check_hostname


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        FrameworkSettings(master="https://m", mesos_ca=tmp_path / "none.pem").master_tls()
    assert "--mesos-ca" in str(caught.value) and "\n" not in str(caught.value)
