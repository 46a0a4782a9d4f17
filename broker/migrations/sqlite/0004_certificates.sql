-- What a renewal needs to know of a pseudonym.
ALTER TABLE broker_certificates ADD COLUMN key BLOB NOT NULL DEFAULT x''; -- Ed25519, 32 bytes; empty: issued before there were renewals
ALTER TABLE broker_certificates ADD COLUMN prefixes TEXT NOT NULL DEFAULT ''; -- that it is bound to, with spaces between
ALTER TABLE broker_certificates ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0; -- when, seconds since 1970; 0: it is not

-- The hot lists. Each is signed once for all brokers on this database.
CREATE TABLE broker_status_lists (
	number        INTEGER NOT NULL PRIMARY KEY,
	places        INTEGER NOT NULL, -- for how many certificates there is room
	changes       INTEGER NOT NULL DEFAULT 0, -- how often a status was changed
	token         TEXT    NOT NULL DEFAULT '', -- the list as it was signed last; '': never
	token_changes INTEGER NOT NULL DEFAULT 0, -- changes when that was
	token_key     TEXT    NOT NULL DEFAULT '', -- id of the key that signed it
	token_issued  INTEGER NOT NULL DEFAULT 0, -- its iat, seconds since 1970
	version       INTEGER NOT NULL DEFAULT 0 -- how often it was signed
) STRICT;

-- The certificates that may still be valid, each at its place of a hot list.
CREATE TABLE broker_statuses (
	certificate TEXT    NOT NULL PRIMARY KEY, -- its jti, base64url
	list        INTEGER NOT NULL REFERENCES broker_status_lists (number),
	place       INTEGER NOT NULL, -- drawn by lot, so that neighbours tell nothing
	subject     TEXT    NOT NULL,
	account     TEXT    NOT NULL REFERENCES broker_accounts (id),
	status      INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)), -- valid, invalid, suspended
	expires     INTEGER NOT NULL, -- seconds since 1970
	UNIQUE (list, place)
) STRICT;

CREATE INDEX broker_statuses_account ON broker_statuses (account, expires);
CREATE INDEX broker_statuses_subject ON broker_statuses (subject);
CREATE INDEX broker_statuses_expires ON broker_statuses (expires);
CREATE INDEX broker_statuses_listed ON broker_statuses (list) WHERE status <> 0;

-- The keys that this broker has published. One is published until everything
-- that it signed has expired, whoever names it, unless it was withdrawn.
CREATE TABLE broker_keys (
	key_id       TEXT    NOT NULL PRIMARY KEY, -- RFC 7638 thumbprint
	key          BLOB    NOT NULL, -- Ed25519, 32 bytes
	created      INTEGER NOT NULL, -- when it was published, microseconds since 1970
	signed_until INTEGER NOT NULL DEFAULT 0, -- all that it signed has expired by then, seconds since 1970; 0: it signed nothing
	withdrawn    INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)) -- it is not trusted any more
) STRICT;

-- What binds the challenges of a day, for all brokers on this database.
CREATE TABLE broker_challenge_keys (
	day    INTEGER NOT NULL PRIMARY KEY, -- UTC days since 1970
	secret BLOB    NOT NULL -- 32 random bytes
) STRICT;
