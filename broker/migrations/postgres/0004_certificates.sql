-- What a renewal needs to know of a pseudonym.
ALTER TABLE broker_certificates ADD COLUMN key BYTEA NOT NULL DEFAULT ''; -- Ed25519, 32 bytes; empty: issued before there were renewals
ALTER TABLE broker_certificates ADD COLUMN prefixes TEXT COLLATE "C" NOT NULL DEFAULT ''; -- that it is bound to, with spaces between
ALTER TABLE broker_certificates ADD COLUMN revoked BIGINT NOT NULL DEFAULT 0; -- when, seconds since 1970; 0: it is not

-- The hot lists. Each is signed once for all brokers on this database.
CREATE TABLE broker_status_lists (
	number        BIGINT NOT NULL PRIMARY KEY,
	places        BIGINT NOT NULL, -- for how many certificates there is room
	changes       BIGINT NOT NULL DEFAULT 0, -- how often a status was changed
	token         TEXT COLLATE "C" NOT NULL DEFAULT '', -- the list as it was signed last; '': never
	token_changes BIGINT NOT NULL DEFAULT 0, -- changes when that was
	token_key     TEXT COLLATE "C" NOT NULL DEFAULT '', -- id of the key that signed it
	token_issued  BIGINT NOT NULL DEFAULT 0, -- its iat, seconds since 1970
	version       BIGINT NOT NULL DEFAULT 0 -- how often it was signed
);

-- The certificates that may still be valid, each at its place of a hot list.
CREATE TABLE broker_statuses (
	certificate TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- its jti, base64url
	list        BIGINT NOT NULL REFERENCES broker_status_lists (number),
	place       BIGINT NOT NULL, -- drawn by lot, so that neighbours tell nothing
	subject     TEXT COLLATE "C" NOT NULL,
	account     TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	status      BIGINT NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)), -- valid, invalid, suspended
	expires     BIGINT NOT NULL, -- seconds since 1970
	UNIQUE (list, place)
);

CREATE INDEX broker_statuses_account ON broker_statuses (account, expires);
CREATE INDEX broker_statuses_subject ON broker_statuses (subject);
CREATE INDEX broker_statuses_expires ON broker_statuses (expires);
CREATE INDEX broker_statuses_listed ON broker_statuses (list) WHERE status <> 0;

-- The keys that this broker has published. One is published until everything
-- that it signed has expired, whoever names it, unless it was withdrawn.
CREATE TABLE broker_keys (
	key_id       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- RFC 7638 thumbprint
	key          BYTEA   NOT NULL, -- Ed25519, 32 bytes
	created      BIGINT NOT NULL, -- when it was published, microseconds since 1970
	signed_until BIGINT NOT NULL DEFAULT 0, -- all that it signed has expired by then, seconds since 1970; 0: it signed nothing
	withdrawn    BIGINT NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)) -- it is not trusted any more
);

-- What binds the challenges of a day, for all brokers on this database.
CREATE TABLE broker_challenge_keys (
	day    BIGINT NOT NULL PRIMARY KEY, -- UTC days since 1970
	secret BYTEA   NOT NULL -- 32 random bytes
);
