-- One row: whose books these are. A broker that is started under another name
-- or in another currency is refused.
CREATE TABLE broker_settings (
	one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	issuer   TEXT    NOT NULL,
	currency TEXT    NOT NULL
) STRICT;

CREATE TABLE broker_accounts (
	id      TEXT    NOT NULL PRIMARY KEY,
	key_id  TEXT    NOT NULL UNIQUE, -- RFC 7638 thumbprint
	key     BLOB    NOT NULL, -- Ed25519, 32 bytes
	age     INTEGER NOT NULL DEFAULT 0 CHECK (age BETWEEN 0 AND 150), -- years, proven; 0: nothing proven
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- Which pseudonym is whose: the one place that knows.
CREATE TABLE broker_certificates (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	subject TEXT    NOT NULL UNIQUE,
	account TEXT    NOT NULL REFERENCES broker_accounts (id),
	key_id  TEXT    NOT NULL,
	expires INTEGER NOT NULL, -- seconds since 1970
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE INDEX broker_certificates_account ON broker_certificates (account, expires);

CREATE TABLE broker_vendors (
	vendor  TEXT    NOT NULL PRIMARY KEY, -- origin
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE TABLE broker_vendor_keys (
	vendor  TEXT    NOT NULL REFERENCES broker_vendors (vendor),
	key_id  TEXT    NOT NULL,
	key     BLOB    NOT NULL,
	created INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (vendor, key_id)
) STRICT;

CREATE INDEX broker_vendor_keys_key ON broker_vendor_keys (key_id);

-- What was reserved and paid on a commitment, with the evidence for it. Every
-- change counts version up by one and names the version it was made from.
CREATE TABLE broker_commitments (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	id          TEXT    NOT NULL UNIQUE,
	token       TEXT    NOT NULL, -- the commitment, its signatures checked
	account     TEXT    NOT NULL REFERENCES broker_accounts (id),
	vendor      TEXT    NOT NULL,
	reserved    INTEGER NOT NULL CHECK (reserved >= 0), -- promised, micros; 0: nothing
	held        INTEGER NOT NULL CHECK (held >= 0), -- of that, still in the user's reserved account, micros
	paid        INTEGER NOT NULL CHECK (paid >= 0), -- to the vendor, micros
	sequence    INTEGER NOT NULL, -- of the reservation; 0: none
	redeem_by   INTEGER NOT NULL, -- seconds since 1970
	day         INTEGER NOT NULL, -- of the last raise, UTC days since 1970; 0: none
	reservation TEXT    NOT NULL, -- token, or ''
	tails       BLOB    NOT NULL, -- 8 times index (4 bytes, big endian) and payword
	claim       TEXT    NOT NULL, -- token of the highest claim that was paid, or ''
	closed      INTEGER NOT NULL CHECK (closed IN (0, 1)), -- nothing more is paid or reserved
	version     INTEGER NOT NULL,
	created     INTEGER NOT NULL, -- microseconds since 1970
	CHECK (held = 0 OR (closed = 0 AND paid + held = reserved))
) STRICT;

CREATE INDEX broker_commitments_account ON broker_commitments (account, seq);
CREATE INDEX broker_commitments_created ON broker_commitments (account, created);
CREATE INDEX broker_commitments_day ON broker_commitments (account, vendor, day);
CREATE INDEX broker_commitments_open ON broker_commitments (account) WHERE held > 0;
CREATE INDEX broker_commitments_due ON broker_commitments (redeem_by) WHERE held > 0;

-- The roots of each account by themselves: a root is no secret once it stands
-- in a commitment, and whoever copies it must not be able to take it away.
CREATE TABLE broker_roots (
	account    TEXT NOT NULL REFERENCES broker_accounts (id),
	root       BLOB NOT NULL,
	commitment TEXT NOT NULL, -- the first one that was seen with it
	PRIMARY KEY (account, root)
) STRICT;

-- A root that was paid on in two commitments of one account: its signer
-- released the same paywords twice.
CREATE TABLE broker_frauds (
	root       BLOB    NOT NULL,
	commitment TEXT    NOT NULL, -- paid on
	earlier    TEXT    NOT NULL, -- the first one that was seen with the root
	account    TEXT    NOT NULL, -- that signed both
	vendor     TEXT    NOT NULL, -- that was paid
	created    INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (root, commitment)
) STRICT;

CREATE TABLE broker_nonces (
	key_id  TEXT    NOT NULL,
	nonce   TEXT    NOT NULL,
	expires INTEGER NOT NULL, -- seconds since 1970
	PRIMARY KEY (key_id, nonce)
) STRICT;

CREATE INDEX broker_nonces_expires ON broker_nonces (expires);

-- What was answered under an Idempotency-Key.
CREATE TABLE broker_answers (
	scope   TEXT    NOT NULL,
	key     TEXT    NOT NULL,
	request BLOB    NOT NULL, -- SHA-256 of the body
	answer  TEXT    NOT NULL, -- JSON
	expires INTEGER NOT NULL, -- seconds since 1970
	PRIMARY KEY (scope, key)
) STRICT;

CREATE INDEX broker_answers_expires ON broker_answers (expires);
