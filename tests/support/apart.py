"""A world with a review console of another account than the gateway, shared with as docs/console.md says."""

from __future__ import annotations

import json
import os

from tests.support.reviewed import Reviewed
from tests.support.rights import Other
from tests.support.slapd import Slapd
from tests.support.sshd import make_key

USER = "games"  # every Debian has it, and nothing here is its own
NOT_ROOT = "" if os.geteuid() == 0 else "only root starts processes as other users"

CONFIG = f"""[totp]
key_file = "totp.key"
[control]
responder_group = "{USER}"
speaker_group = "{USER}"
[console]
listen = "127.0.0.1:0"
auditor_groups = ["security"]
responder_groups = ["responders"]
audit_file = "console/audit.jsonl"
"""


class Apart(Reviewed):
    """The console is USER; recordings and state are shared with its group as docs/console.md says."""

    def __init__(self, slapd: Slapd, config: str = CONFIG) -> None:
        super().__init__(slapd=slapd, config=config, recording='signing_key = "keys/recording"')
        make_key(self.keys / "recording")
        self.totp = self.folder / "totp.key"
        self.totp.write_text("k" * 44 + "\n")
        self.totp.chmod(0o600)
        self.other = self.console_as = Other.of(USER, self.folder / "python")
        account = self.other.account
        for folder in (self.recordings, self.recordings / "state"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, 0, account.pw_gid)
            folder.chmod(0o2750)
        for folder in (self.folder / "console", self.recordings / "index"):
            folder.mkdir(mode=0o700)
            os.chown(folder, account.pw_uid, account.pw_gid)
        for secret in (self.users, self.folder / "ldap.secret"):
            if secret.exists():
                os.chown(secret, 0, account.pw_gid)
                secret.chmod(0o640)

    def looked(self) -> list[dict[str, str]]:
        whole = (self.folder / "console" / "audit.jsonl").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]
