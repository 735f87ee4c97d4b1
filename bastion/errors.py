"""What can go wrong, in two families: theirs (`ProtocolError`, `Refused`) and ours (`ConfigError`, `RecorderFailed`).

The reasons are closed sets: each is a metric label created at 0 and a word in the audit log, so a dashboard
can name every way in which somebody was turned away. Text that came from a peer never becomes a reason.
"""

from __future__ import annotations

from enum import StrEnum


class BastionError(Exception):
    """The root of everything this package raises on purpose."""


class ProtocolError(BastionError):
    """A peer broke the protocol. Final: the connection is disconnected with `code` (RFC 4253 section 11.1).

    `text` is ours, never the peer's bytes, so it may be logged and sent.
    """

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class ConfigError(BastionError):
    """Bad input from an operator: names the place, the problem and what would be right.

    `file` and `line` (1-based, 0 = unknown) say where, `key` is the dotted path, `allowed` what may stand there.
    """

    def __init__(self, file: str, line: int, key: str, problem: str, allowed: str = "") -> None:
        self.file, self.line, self.key, self.problem, self.allowed = file, line, key, problem, allowed
        where = f"{file}:{line}" if line else file
        hint = f" (allowed: {allowed})" if allowed else ""
        super().__init__(f"{where}: {key}: {problem}{hint}" if key else f"{where}: {problem}{hint}")


class RecorderFailed(BastionError):
    """The recording cannot be written. No recorder, no session: whoever sees this ends the session."""

    def __init__(self, reason: RecorderReason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class StoreFault(BastionError):
    """The bucket of recordings, or what lies between, did not do what was asked. `text` is ours, and for operators."""

    def __init__(self, reason: StoreReason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class Refused(BastionError):
    """The gateway says no. `reason` is from a closed set, `text` is the one line the engineer reads."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class AuthReason(StrEnum):
    """How one authentication attempt ended. `OK` and `PARTIAL` are no refusals."""

    OK = "ok"
    PARTIAL = "partial"
    BAD_PASSWORD = "bad_password"
    EMPTY_PASSWORD = "empty_password"
    PASSWORD_TOO_LONG = "password_too_long"
    UNKNOWN_USER = "unknown_user"
    BAD_USER_NAME = "bad_user_name"
    AMBIGUOUS_USER = "ambiguous_user"
    ACCOUNT_LOCKED = "account_locked"
    LOCKED = "locked"  # by the security team, whatever the directory says
    ACCOUNT_EXPIRED = "account_expired"
    SERVICE_SOURCE = "service_source"  # a service account, and not from where it may come
    PASSWORD_MUST_CHANGE = "password_must_change"
    DIRECTORY_UNAVAILABLE = "directory_unavailable"
    DIRECTORY_TIMEOUT = "directory_timeout"
    KEY_NOT_AUTHORISED = "key_not_authorised"
    KEY_OPTIONS = "key_options"
    KEY_UNSUPPORTED = "key_unsupported"
    KEY_MALFORMED = "key_malformed"
    SK_KEY_REFUSED = "sk_key_refused"  # where none can be used: as a host key
    SK_NOT_TOUCHED = "sk_not_touched"
    SK_NOT_VERIFIED = "sk_not_verified"
    BAD_SIGNATURE = "bad_signature"
    KEY_REVOKED = "key_revoked"
    CERT_REVOKED = "cert_revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"  # the list of what is revoked could not be read
    CERT_MALFORMED = "cert_malformed"
    CERT_WRONG_TYPE = "cert_wrong_type"
    CERT_UNTRUSTED_CA = "cert_untrusted_ca"
    CERT_CA_ALGORITHM = "cert_ca_algorithm"
    CERT_NOT_YET_VALID = "cert_not_yet_valid"
    CERT_EXPIRED = "cert_expired"
    CERT_NO_PRINCIPALS = "cert_no_principals"
    CERT_OUT_OF_SCOPE = "cert_out_of_scope"  # its CA is not for this account, or these principals
    CERT_WRONG_PRINCIPAL = "cert_wrong_principal"
    CERT_CRITICAL_OPTION = "cert_critical_option"
    CERT_SOURCE_ADDRESS = "cert_source_address"
    METHOD_NOT_OFFERED = "method_not_offered"
    BAD_CODE = "bad_code"
    CODE_USED = "code_used"
    NOT_ENROLLED = "not_enrolled"
    CODES_UNAVAILABLE = "codes_unavailable"  # no key, or no store: nobody gets in on that
    FACTOR_DENIED = "factor_denied"  # by the identity provider, or whoever signed in there
    FACTOR_TIMEOUT = "factor_timeout"  # nobody did, in time
    FACTOR_MISMATCH = "factor_mismatch"  # somebody else did
    FACTOR_INVALID = "factor_invalid"  # what came back proves nothing
    FACTOR_UNAVAILABLE = "factor_unavailable"  # no server answers, or none is configured
    FACTOR_BUSY = "factor_busy"  # as many are asked as may be
    FACTOR_NOT_WANTED = "factor_not_wanted"  # no chain goes on with it: given before, or not its turn
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    THROTTLED = "throttled"
    OVER_BUDGET = "over_budget"
    ABANDONED = "abandoned"
    INTERNAL_ERROR = "internal_error"


class IssueReason(StrEnum):
    """Why no certificate was issued to somebody who had logged in."""

    NOT_HERE = "not_here"  # this gateway issues none
    CHAIN_MISSING = "chain_missing"  # the login has not given all factors that are asked for
    ISSUED_BEFORE = "issued_before"  # it was by a certificate that was issued here
    RESTRICTED = "restricted"  # what restricts the login cannot stand in a certificate
    LOGIN_TOO_OLD = "login_too_old"
    ISSUE_LOCKED = "issue_locked"  # a lock, or a list of revoked keys, names the login or the key
    NO_ACCOUNT = "no_account"  # the directory does not say that there is one
    NO_KEY = "no_key"
    KEY_UNREADABLE = "key_unreadable"  # not one public key: a certificate, several lines, too weak
    KEY_TOO_LONG = "key_too_long"
    KEY_TOO_LATE = "key_too_late"
    KEY_NOT_OWN = "key_not_own"  # only own keys are certified
    KEY_OF_ANOTHER = "key_of_another"
    TOO_MANY_VALID = "too_many_valid"
    ISSUE_BUDGET = "issue_budget"
    SIGNING_FAILED = "signing_failed"
    STORE_AWAY = "store_away"


class PolicyReason(StrEnum):
    """How an authorisation or a later verdict of a `Grant` ended. `ALLOWED` is no refusal."""

    ALLOWED = "allowed"
    UNKNOWN_TARGET = "unknown_target"
    NO_RULE = "no_rule"
    LOGIN_NOT_ALLOWED = "login_not_allowed"
    BAD_DESTINATION = "bad_destination"
    VERB_NOT_ALLOWED = "verb_not_allowed"
    ENV_NOT_ALLOWED = "env_not_allowed"
    DESTINATION_NOT_ALLOWED = "destination_not_allowed"
    PATH_NOT_ALLOWED = "path_not_allowed"
    NESTED_SSH = "nested_ssh"
    LOCKED = "locked"
    KILLED = "killed"
    TARGETS_UNRESOLVED = "targets_unresolved"
    UNKNOWN_CHANNEL_TYPE = "unknown_channel_type"
    UNKNOWN_REQUEST = "unknown_request"
    CERT_RESTRICTION = "cert_restriction"
    PROOF_REQUIRED = "proof_required"
    FACTOR_NEEDED = "factor_needed"  # by a rule, and this login has not given it
    GRANT_ENDED = "grant_ended"
    ACCOUNT_GONE = "account_gone"
    ACCOUNT_UNCONFIRMED = "account_unconfirmed"
    CHANNEL_LIMIT = "channel_limit"
    CHANNEL_RATE = "channel_rate"
    RECORD_RATE = "record_rate"


class ApprovalReason(StrEnum):
    """What came of a request for approval, or of an answer to one: counter, audit word and reason of a refusal."""

    FILED = "filed"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    GIVEN_BACK = "given_back"  # the target could not be had: the approval still stands
    WITHDRAWN = "withdrawn"  # whoever waited for it has left
    NEEDED = "needed"  # a session was refused, with the command that asks
    UNANSWERED = "unanswered"  # in the time that it waited
    STALE = "stale"  # between the approval and the dial something changed
    NOT_FOUND = "not_found"
    NOT_APPROVER = "not_approver"
    OWN = "own"  # of the one who answers
    NO_FACTOR = "no_factor"  # the answer came without a fresh second factor
    NO_ID = "no_id"  # an id that is made of a name proves nobody
    ANSWERED = "answered"  # by somebody else before
    EXPIRED = "expired"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"  # the store does not answer


class UpstreamReason(StrEnum):
    """How reaching the target ended, by step. `OK` is no refusal."""

    OK = "ok"
    NAME_NOT_FOUND = "name_not_found"
    ADDRESS_REFUSED = "address_refused"
    CONNECTION_REFUSED = "connection_refused"
    UNREACHABLE = "unreachable"
    NO_DESCRIPTOR = "no_descriptor"
    CONNECT_TIMEOUT = "connect_timeout"
    NOT_SSH = "not_ssh"
    KEX_FAILED = "kex_failed"
    HOST_KEY_UNKNOWN = "host_key_unknown"
    HOST_KEY_CHANGED = "host_key_changed"
    HOST_KEY_REVOKED = "host_key_revoked"
    HOST_CERT_INVALID = "host_cert_invalid"
    LOGIN_REFUSED = "login_refused"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    CREDENTIAL_FAILED = "credential_failed"
    HOP_REFUSED = "hop_refused"
    PROXY_FAILED = "proxy_failed"


class RecorderReason(StrEnum):
    """Why a recording could not be made or kept."""

    OPEN_FAILED = "open_failed"
    NO_DESCRIPTOR = "no_descriptor"
    WRITE_FAILED = "write_failed"
    SHORT_WRITE = "short_write"
    DISK_FULL = "disk_full"
    DISK_FLOOR = "disk_floor"
    DISK_SLOW = "disk_slow"
    SYNC_FAILED = "sync_failed"
    AUDIT_FAILED = "audit_failed"


class Detection(StrEnum):
    """What the audit log may show that somebody should look at; each is a switch of `[detections]` too."""

    NEW_NETWORK = "new_network"
    IMPOSSIBLE_TRAVEL = "impossible_travel"
    UNUSUAL_HOUR = "unusual_hour"
    DORMANT_ACCOUNT = "dormant_account"
    CERTIFICATE_SHARED = "certificate_shared"
    NEW_DESTINATION = "new_destination"
    TUNNEL_DATA = "tunnel_data"
    TUNNEL_BEACON = "tunnel_beacon"
    TUNNELS_REFUSED = "tunnels_refused"
    SFTP_DATA = "sftp_data"
    MANY_TARGETS = "many_targets"
    HOST_KEY_CHANGED = "host_key_changed"
    BREAK_GLASS = "break_glass"
    RECORDING_TROUBLE = "recording_trouble"


class PostReason(StrEnum):
    """What came of posting findings to somebody."""

    SENT = "sent"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    REFUSED = "refused"  # for what it is: it is not posted again
    STATUS = "status"  # another answer than 200 to 299
    BAD_ANSWER = "bad_answer"
    SECRET = "secret"  # the file with the token or the secret cannot be used
    DROPPED = "dropped"  # too many waited


class LimitReason(StrEnum):
    """Limits of the gateway itself, met before or beside policy."""

    STARTUPS = "startups"
    SOURCE_STARTUPS = "source_startups"
    DISPLACED = "displaced"
    PENALTY = "penalty"
    LOCKED = "locked"
    LOGIN_GRACE = "login_grace"
    HANDSHAKE_FAILED = "handshake_failed"
    AUTH_REQUESTS = "auth_requests"
    WRITE_STALL = "write_stall"
    KEX_TIMEOUT = "kex_timeout"
    KEX_QUEUE = "kex_queue"
    KEEPALIVE = "keepalive"
    IDLE = "idle"
    DURATION = "duration"
    SESSIONS = "sessions"
    USER_SESSIONS = "user_sessions"
    DRAINING = "draining"
    STATE_UNAVAILABLE = "state_unavailable"
    STATE_OWED = "state_owed"
    LOCKS_UNCONFIRMED = "locks_unconfirmed"
    PROTOCOL_ERROR = "protocol_error"
    # What one source or identity may cost is used up (`auth.budget`).
    BUDGET_PUBLIC_KEY = "budget_public_key"
    BUDGET_KEY_EXCHANGE = "budget_key_exchange"
    BUDGET_DIRECTORY = "budget_directory"
    BUDGET_NAME_LOOKUP = "budget_name_lookup"
    BUDGET_LOG = "budget_log"
    BUDGET_NOTES = "budget_notes"
    BUDGET_BUFFERED = "budget_buffered"


class EndReason(StrEnum):
    """Why a session ended: metric label, audit word and recording footer."""

    CLIENT_CLOSED = "client_closed"
    TARGET_CLOSED = "target_closed"
    CLIENT_ERROR = "client_error"
    TARGET_ERROR = "target_error"
    RECORDER_FAILED = "recorder_failed"
    RECORDING_LIMIT = "recording_limit"  # its recording, or all of that person, is as large as it may be
    KEEPALIVE = "keepalive"
    IDLE = "idle"
    DURATION = "duration"
    GRANT_ENDED = "grant_ended"
    RIGHTS_WITHDRAWN = "rights_withdrawn"
    KILLED = "killed"
    LOCKED = "locked"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"
    WORKER_DIED = "worker_died"
    GATEWAY_DIED = "gateway_died"  # as a whole: the next one writes it down


class WorkerDeath(StrEnum):
    """Why one of several workers ended without being told to by people: metric label and audit word."""

    DIED = "died"  # by itself, or somebody killed it
    STUCK = "stuck"  # it answered nothing any more
    START = "start"  # it was too slow to start
    RELOAD = "reload"  # it did not take what the others have


class TunnelReason(StrEnum):
    """Why a tunnel ended: metric label and audit word."""

    CLIENT_CLOSED = "client_closed"
    FAR_CLOSED = "far_closed"
    BYTES = "bytes"
    DURATION = "duration"
    GRANT_ENDED = "grant_ended"
    NESTED_SSH = "nested_ssh"
    RIGHTS_WITHDRAWN = "rights_withdrawn"
    KILLED = "killed"
    LOCKED = "locked"
    SHUTDOWN = "shutdown"


class HandshakeResult(StrEnum):
    """How the first key exchange with a client ended: metric label and, where there is a line, audit word."""

    OK = "ok"
    SILENT = "silent"  # not a byte came
    NO_VERSION = "no_version"  # what came was no SSH
    NO_COMMON = "no_common"  # some list of algorithms has nothing in common
    FAILED = "failed"  # left, too slow, or broke the protocol


class HeaderResult(StrEnum):
    """What came of a load balancer's PROXY header: metric label and, where there is a line, audit word."""

    OK = "ok"
    LOCAL = "local"  # it names nobody, or itself: a health check
    SILENT = "silent"  # gone without a byte
    NOT_LISTED = "not_listed"  # who came is no balancer of that listener
    TOO_MANY = "too_many"  # as many wait for theirs as may
    LATE = "late"
    CUT_SHORT = "cut_short"  # gone in the middle of it
    MISSING = "missing"  # what came first is something else
    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    NOT_TCP = "not_tcp"
    CHECKSUM = "checksum"
    NOBODY = "nobody"  # a login behind a header that names no address


class AgentFault(StrEnum):
    """How an ssh-agent failed to sign: metric label, and part of what the engineer reads."""

    GONE = "gone"
    TIMEOUT = "timeout"
    KEY_MISSING = "key_missing"
    REFUSED = "refused"
    BAD_ANSWER = "bad_answer"
    BUSY = "busy"


class AgentFailed(BastionError):
    """An ssh-agent gave no signature. `text` is for the operator: it names the socket."""

    def __init__(self, fault: AgentFault, text: str) -> None:
        super().__init__(text)
        self.fault, self.text = fault, text


class HealthPart(StrEnum):
    """What /readyz speaks of, one line each. No reason: a part that works is named too."""

    GATEWAY = "gateway"
    AUDIT = "audit"
    RECORDINGS = "recordings"
    DISK_FLOOR = "disk_floor"
    DIRECTORY = "directory"
    HOST_KEYS = "host_keys"
    AGENTS = "agents"
    STATE = "state"
    UPLOADS = "uploads"
    NODES = "nodes"
    SINKS = "sinks"


class StoreReason(StrEnum):
    """What came of an upload, or why the bucket of recordings was of no use. `OK` is no fault."""

    OK = "ok"
    UNREACHABLE = "unreachable"  # no connection, no name, no TLS
    TIMEOUT = "timeout"
    REFUSED = "refused"  # credentials, or a right that they lack
    NO_BUCKET = "no_bucket"
    SERVER_ERROR = "server_error"
    BAD_ANSWER = "bad_answer"  # none that this program understands
    CHECKSUM = "checksum"  # what was sent, or is there, is not what lies in the spool
    LOCKED = "locked"  # object lock: it may not be deleted yet
    LOCAL_FILE = "local_file"
    STATE = "state"  # the index does not take the row


class InventoryReason(StrEnum):
    """What came of asking an inventory for its targets. `TAKEN` and `SAME` are no faults."""

    TAKEN = "taken"
    SAME = "same"  # as the time before
    UNREACHABLE = "unreachable"
    TLS = "tls"
    STATUS = "status"  # of HTTP, another one than 200
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    PROGRAM = "program"  # it cannot be started, or has failed
    SETTINGS = "settings"  # a file that [inventories] names cannot be used
    BAD_ANSWER = "bad_answer"  # no JSON, or not what an inventory is
    EMPTY = "empty"  # it names no target at all
    NOT_FITTING = (
        "not_fitting"  # the configuration with these targets has faults: a name that another target has
    )
    FAILED = "failed"  # it could not be kept, or the gateway failed


class ControlReason(StrEnum):
    """Why a question to a running gateway was not answered: metric label, audit word and what the asker reads."""

    MALFORMED = "malformed"  # no frame, or no question
    UNKNOWN_COMMAND = "unknown_command"
    NO_ROLE = "no_role"  # the asker is in no group that may
    STRANGER = "stranger"  # no certificate of a gateway that is listed
    BY_POLICY = "by_policy"  # the rules that opened a session say that nobody watches it
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    ALREADY = "already"  # it is there, and is not replaced
    TOO_MANY = "too_many"  # clients, questions, watchers
    SLOW = "slow"  # half a frame, or answers that nobody reads
    TIMEOUT = "timeout"
    LINK_LOST = "link_lost"
    FAILED = "failed"


class ConsoleReason(StrEnum):
    """Why the review console did not answer, or somebody is signed in no longer: audit word and what is read."""

    NOT_SIGNED_IN = "not_signed_in"
    SIGNED_OUT = "signed_out"
    IDLE = "idle"  # nothing was asked for too long
    EXPIRED = "expired"  # signed in for as long as may be
    ACCOUNT_GONE = "account_gone"
    LOCKED = "locked"
    NO_ROLE = "no_role"
    BAD_API_TOKEN = "bad_api_token"
    OUT_OF_SCOPE = "out_of_scope"  # of an API token
    STALE_SIGN_IN = "stale_sign_in"  # too long ago, or too weak
    BAD_ORIGIN = "bad_origin"  # a form of another site
    BAD_TOKEN = "bad_token"  # a form of another sign-in
    BAD_HOST = "bad_host"  # a name that is not the console's
    BAD_REQUEST = "bad_request"
    BAD_METHOD = "bad_method"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    OWN = "own"  # a session of one's own, a question of one's own
    TOO_MANY = "too_many"  # visits of one person, or questions at once
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"  # store, index or gateway
    UNAUDITED = "unaudited"  # the line about it cannot be written
    FAILED = "failed"


Reason = (
    AuthReason | IssueReason | PolicyReason | ApprovalReason | UpstreamReason | RecorderReason | LimitReason
)
