"""An identity provider on loopback with the device flow of RFC 8628 and the code flow of OpenID Connect with PKCE, over
TLS: it does what a test says.

Tokens are made with joserfc. `approve` is what somebody does in a browser; until then polls are told to wait. Whom a
browser leads to `/authorize` is led back at once, as somebody with `claims`.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import secrets
import ssl
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from bastion.clock import SystemClock
from tests.support.net import LOOPBACK
from tests.support.pki import Authority

CLIENT, SECRET = "bastion", "a secret: with / odd+characters"
USER_CODE = "WDJB-MJHT"


class IdentityProvider:
    """Serves from the beginning until `close`. `ca_file` is what clients trust."""

    def __init__(self, folder: Path, interval: float = 1, name: str = "localhost") -> None:
        authority = Authority(folder / "idp")
        issued = authority.issue(name, LOOPBACK)
        self.ca_file = authority.certificate
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.published: list[Any] = [self.key]
        self.interval = interval
        self.asked: list[str] = []  # paths, in order
        self.forms: list[dict[str, str]] = []  # of the token endpoint
        self.authorisations: list[str] = []
        self.description: dict[str, Any] = {}  # what it says of itself besides, or instead
        self.device: dict[str, Any] = {}  # the same of a device code
        self.answers: list[
            tuple[int, Any]
        ] = []  # of the token endpoint, before all others: status, JSON or bytes
        self.claims: dict[str, Any] = {}  # of whoever signs in with a browser, beside the usual ones
        self.led: list[dict[str, str]] = []  # what browsers brought
        self._codes: dict[str, dict[str, str]] = {}  # good once: what was asked for
        self._token: str | None = None
        self._error = "authorization_pending"
        self.polled = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.issuer = f"https://localhost:{self.port}/realms/staff"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    # -- what people and tests do --------------------------------------------------------------------------

    def approve(self, claims: dict[str, Any] | None = None) -> None:
        """Somebody has signed in: the next poll gets a token with these claims beside the usual ones."""
        self._token = self.token(claims or {})

    def token(self, claims: dict[str, Any]) -> str:
        now = int(SystemClock().time())
        whole = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "u-1",
            "iat": now,
            "exp": now + 300,
            "preferred_username": "alice",
            **claims,
        }
        return jwt.encode({"alg": "RS256", "kid": "one"}, whole, self.key, algorithms=["RS256"])

    def says(self, error: str) -> None:
        """What polls are told until somebody signs in."""
        self._token, self._error = None, error

    def reset(self) -> None:
        self.says("authorization_pending")
        self.answers.clear()
        self.asked.clear()
        self.forms.clear()
        self.polled.clear()
        self.description.clear()
        self.device.clear()
        self.claims.clear()
        self.led.clear()
        self.published = [self.key]

    # -- what is served ------------------------------------------------------------------------------------

    def get(self, path: str) -> tuple[int, Any]:
        base = self.issuer
        if path.endswith("/.well-known/openid-configuration"):
            return 200, {
                "issuer": base,
                "device_authorization_endpoint": f"{base}/device",
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/keys",
                **self.description,
            }
        if path.endswith("/keys"):
            return 200, {"keys": [key.as_dict(private=False) for key in self.published]}
        if "/authorize?" in path:
            return 303, {"location": self._led_back(path)}
        return 404, {}

    def _led_back(self, path: str) -> str:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.led.append(asked)
        code = secrets.token_urlsafe(24)
        self._codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def _redeemed(self, form: dict[str, str]) -> tuple[int, Any]:
        """RFC 6749 section 4.1.3, RFC 7636 section 4.6."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["redirect_uri"] != form.get("redirect_uri")
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != challenge
        ):
            return 400, {"error": "invalid_grant"}
        token = self.token({"nonce": asked["nonce"], **self.claims})
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def post(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/device"):
            return 200, {
                "device_code": "the-device-code",
                "user_code": USER_CODE,
                "verification_uri": f"{self.issuer}/enter",
                "verification_uri_complete": f"{self.issuer}/enter?user_code={USER_CODE}",
                "expires_in": 600,
                "interval": self.interval,
                **self.device,
            }
        if not path.endswith("/token"):
            return 404, {}
        self.forms.append(form)
        self.polled.set()
        if self.answers:
            return self.answers.pop(0)
        if form.get("grant_type") == "authorization_code":
            return self._redeemed(form)
        if self._token is None:
            return 400, {"error": self._error}
        token, self._token = self._token, None
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer(lambda: provider.get(self.path))

            def do_POST(self) -> None:
                read = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                form = {name: values[0] for name, values in read.items()}
                provider.authorisations.append(self.headers.get("Authorization", ""))
                self._answer(lambda: provider.post(self.path, form))

            def _answer(self, work: Callable[[], tuple[int, Any]]) -> None:
                provider.asked.append(self.path.rpartition("/")[2])
                status, document = work()
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                if status == 303 and isinstance(document, dict):
                    self.send_header("Location", document["location"])
                if status == 302:
                    self.send_header("Location", "https://localhost:1/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def basic(authorisation: str) -> tuple[str, str]:
    """Id and secret of an Authorization header, as RFC 6749 section 2.3.1 has them, form-encoded."""
    kind, _, value = authorisation.partition(" ")
    assert kind == "Basic"
    name, _, secret = b64decode(value).decode().partition(":")
    return name, secret
