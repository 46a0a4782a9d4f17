-- One row: whose books these are. A broker that is started under another name
-- or in another currency is refused.
CREATE TABLE broker_settings (
	one      BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
	issuer   TEXT COLLATE "C" NOT NULL,
	currency TEXT COLLATE "C" NOT NULL
);

CREATE TABLE broker_accounts (
	id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	key_id  TEXT COLLATE "C" NOT NULL UNIQUE, -- RFC 7638 thumbprint
	key     BYTEA    NOT NULL, -- Ed25519, 32 bytes
	age     BIGINT NOT NULL DEFAULT 0 CHECK (age BETWEEN 0 AND 150), -- years, proven; 0: nothing proven
	created BIGINT NOT NULL -- microseconds since 1970
);

-- Which pseudonym is whose: the one place that knows.
CREATE TABLE broker_certificates (
	seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	subject TEXT COLLATE "C" NOT NULL UNIQUE,
	account TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	key_id  TEXT COLLATE "C" NOT NULL,
	expires BIGINT NOT NULL, -- seconds since 1970
	created BIGINT NOT NULL -- microseconds since 1970
);

CREATE INDEX broker_certificates_account ON broker_certificates (account, expires);

CREATE TABLE broker_vendors (
	vendor  TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- origin
	created BIGINT NOT NULL -- microseconds since 1970
);

CREATE TABLE broker_vendor_keys (
	vendor  TEXT COLLATE "C" NOT NULL REFERENCES broker_vendors (vendor),
	key_id  TEXT COLLATE "C" NOT NULL,
	key     BYTEA    NOT NULL,
	created BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (vendor, key_id)
);

CREATE INDEX broker_vendor_keys_key ON broker_vendor_keys (key_id);

-- What was reserved and paid on a commitment, with the evidence for it. Every
-- change counts version up by one and names the version it was made from.
CREATE TABLE broker_commitments (
	seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id          TEXT COLLATE "C" NOT NULL UNIQUE,
	token       TEXT COLLATE "C" NOT NULL, -- the commitment, its signatures checked
	account     TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	vendor      TEXT COLLATE "C" NOT NULL,
	reserved    BIGINT NOT NULL CHECK (reserved >= 0), -- promised, micros; 0: nothing
	held        BIGINT NOT NULL CHECK (held >= 0), -- of that, still in the user's reserved account, micros
	paid        BIGINT NOT NULL CHECK (paid >= 0), -- to the vendor, micros
	sequence    BIGINT NOT NULL, -- of the reservation; 0: none
	redeem_by   BIGINT NOT NULL, -- seconds since 1970
	day         BIGINT NOT NULL, -- of the last raise, UTC days since 1970; 0: none
	reservation TEXT COLLATE "C" NOT NULL, -- token, or ''
	tails       BYTEA    NOT NULL, -- 8 times index (4 bytes, big endian) and payword
	claim       TEXT COLLATE "C" NOT NULL, -- token of the highest claim that was paid, or ''
	closed      BIGINT NOT NULL CHECK (closed IN (0, 1)), -- nothing more is paid or reserved
	version     BIGINT NOT NULL,
	created     BIGINT NOT NULL, -- microseconds since 1970
	CHECK (held = 0 OR (closed = 0 AND paid + held = reserved))
);

CREATE INDEX broker_commitments_account ON broker_commitments (account, seq);
CREATE INDEX broker_commitments_created ON broker_commitments (account, created);
CREATE INDEX broker_commitments_day ON broker_commitments (account, vendor, day);
CREATE INDEX broker_commitments_open ON broker_commitments (account) WHERE held > 0;
CREATE INDEX broker_commitments_due ON broker_commitments (redeem_by) WHERE held > 0;

-- The roots of each account by themselves: a root is no secret once it stands
-- in a commitment, and whoever copies it must not be able to take it away.
CREATE TABLE broker_roots (
	account    TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	root       BYTEA NOT NULL,
	commitment TEXT COLLATE "C" NOT NULL, -- the first one that was seen with it
	PRIMARY KEY (account, root)
);

-- A root that was paid on in two commitments of one account: its signer
-- released the same paywords twice.
CREATE TABLE broker_frauds (
	root       BYTEA    NOT NULL,
	commitment TEXT COLLATE "C" NOT NULL, -- paid on
	earlier    TEXT COLLATE "C" NOT NULL, -- the first one that was seen with the root
	account    TEXT COLLATE "C" NOT NULL, -- that signed both
	vendor     TEXT COLLATE "C" NOT NULL, -- that was paid
	created    BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (root, commitment)
);

CREATE TABLE broker_nonces (
	key_id  TEXT COLLATE "C" NOT NULL,
	nonce   TEXT COLLATE "C" NOT NULL,
	expires BIGINT NOT NULL, -- seconds since 1970
	PRIMARY KEY (key_id, nonce)
);

CREATE INDEX broker_nonces_expires ON broker_nonces (expires);

-- What was answered under an Idempotency-Key.
CREATE TABLE broker_answers (
	scope   TEXT COLLATE "C" NOT NULL,
	key     TEXT COLLATE "C" NOT NULL,
	request BYTEA    NOT NULL, -- SHA-256 of the body
	answer  TEXT COLLATE "C" NOT NULL, -- JSON
	expires BIGINT NOT NULL, -- seconds since 1970
	PRIMARY KEY (scope, key)
);

CREATE INDEX broker_answers_expires ON broker_answers (expires);
