"""What a target's sshd needs: lines that each version takes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bastion.setup_texts.target import TargetFacts, target_config, target_script
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import keygen

CA_KEY = PrivateKey.generate_ed25519()


def test_target_config_for_each_sshd() -> None:
    facts = TargetFacts((CA_KEY.public,), ["192.0.2.1", "2001:db8::/64"])
    unknown = target_config(facts)
    assert CA_KEY.public.line() in unknown
    assert "#PerSourcePenaltyExemptList 192.0.2.1,2001:db8::/64" in unknown.splitlines()
    assert "PerSourcePenaltyExemptList" not in target_config(replace(facts, version=(9, 2)))
    assert (
        "PerSourcePenaltyExemptList 192.0.2.1,2001:db8::/64"
        in target_config(replace(facts, version=(9, 8))).splitlines()
    )
    assert "AuthorizedPrincipalsFile /etc/ssh/principals/%u" in target_config(
        replace(facts, principals_file="/etc/ssh/principals/%u")
    )


@pytest.mark.parametrize("egress", [(), ("127.0.0.1",), ("192.0.2.1", "2001:db8::/64")])
def test_sshd_accepts_the_lines(egress: tuple[str, ...], tmp_path: Path) -> None:
    """The real sshd reads the text in its test mode."""
    host_key = tmp_path / "host"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", host_key)
    text = target_config(TargetFacts((CA_KEY.public,), egress, version=(9, 2)))
    path = tmp_path / "sshd_config"
    path.write_text(f"HostKey {host_key}\n{text}")
    # -C: the Match block too.
    command = ["/usr/sbin/sshd", "-T", "-f", path, "-C", "addr=192.0.2.1,user=root,host=x,laddr=::1,lport=22"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.lower()
    assert (
        "trustedusercakeys /etc/ssh/bastion_upstream_ca.pub" in shown and "maxstartups 100:30:1000" in shown
    )
    assert ("maxsessions 128" in shown) is (egress != ("127.0.0.1",))


@pytest.mark.parametrize("egress", [(), ("127.0.0.1",), ("192.0.2.1", "2001:db8::/64")])
@pytest.mark.slow
def test_the_script_makes_a_configuration_that_sshd_takes_and_may_run_twice(
    egress: tuple[str, ...], tmp_path: Path
) -> None:
    """On folders and an sshd of the test's; tests/interop/typed pastes it as it is."""
    host_key = tmp_path / "host"
    keygen("-q", "-t", "ed25519", "-N", "", "-f", host_key)
    (tmp_path / "sshd_config").write_text(f"HostKey {host_key}\nMaxSessions 7\n")
    script = target_script(TargetFacts((CA_KEY.public,), egress)).replace("/etc/ssh", str(tmp_path))
    lines = script.splitlines()[:-1]  # but the reload
    script = "\n".join(lines).replace("sshd -t", f"/usr/sbin/sshd -t -f {tmp_path}/sshd_config")
    for _ in range(2):
        done = subprocess.run(["sh"], input=script, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, script + done.stderr
    assert (tmp_path / "sshd_config").read_text().count("Include") == 1
    assert (tmp_path / "bastion_upstream_ca.pub").read_text() == CA_KEY.public.line(
        "bastion-upstream-ca"
    ) + "\n"
    command = [
        "/usr/sbin/sshd",
        "-T",
        "-f",
        tmp_path / "sshd_config",
        "-C",
        "addr=192.0.2.1,user=root,host=x",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.lower()
    assert (
        f"trustedusercakeys {tmp_path}/bastion_upstream_ca.pub" in shown
        and "maxstartups 100:30:1000" in shown
    )
    # What is in the included file comes first; its Match block ends with it.
    assert ("maxsessions 128" in shown) is (egress != ("127.0.0.1",))
