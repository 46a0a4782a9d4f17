-- What statements are made of, as it was when the run collected it.
CREATE TABLE clearing_evidence (
	run_id     TEXT    NOT NULL REFERENCES clearing_runs (id),
	vendor     TEXT    NOT NULL, -- origin
	commitment TEXT    NOT NULL,
	account    TEXT    NOT NULL, -- of the broker
	amount     INTEGER NOT NULL CHECK (amount > 0), -- paid within the period, micros
	paid       INTEGER NOT NULL, -- paid up to the cut-off in all, micros
	tails      BLOB    NOT NULL, -- for each chain of the commitment index (4 bytes, big endian) and payword
	claim      TEXT    NOT NULL, -- token
	claim_key  BLOB    NOT NULL, -- of the vendor, that signed the claim; empty: it was withdrawn
	PRIMARY KEY (run_id, vendor, commitment)
) STRICT, WITHOUT ROWID;

CREATE INDEX clearing_evidence_account ON clearing_evidence (run_id, account, commitment, amount);

-- The leaves of a day's tree, in their order.
CREATE TABLE clearing_statements (
	run_id      TEXT    NOT NULL REFERENCES clearing_runs (id),
	number      INTEGER NOT NULL, -- 0 and up
	kind        TEXT    NOT NULL CHECK (kind IN ('vendor', 'user')),
	party       TEXT    NOT NULL, -- origin or account
	commitments INTEGER NOT NULL,
	digest      BLOB    NOT NULL, -- SHA-256 of the statement
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, kind, party)
) STRICT;

-- What was published of a day.
CREATE TABLE clearing_days (
	run_id   TEXT    NOT NULL PRIMARY KEY REFERENCES clearing_runs (id),
	number   INTEGER NOT NULL UNIQUE, -- 1 and up
	root     BLOB    NOT NULL,
	leaves   INTEGER NOT NULL,
	previous TEXT    NOT NULL, -- SHA-256 of the token of the day before, hexadecimal; '': it is the first
	token    TEXT    NOT NULL, -- a JWS by the clearing's key
	created  INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE TRIGGER clearing_evidence_keep BEFORE DELETE ON clearing_evidence BEGIN
	SELECT RAISE(ABORT, 'evidence is append-only');
END;

CREATE TRIGGER clearing_statements_keep BEFORE DELETE ON clearing_statements BEGIN
	SELECT RAISE(ABORT, 'statements are append-only');
END;

CREATE TRIGGER clearing_statements_frozen BEFORE UPDATE ON clearing_statements BEGIN
	SELECT RAISE(ABORT, 'a statement is frozen');
END;

CREATE TRIGGER clearing_days_keep BEFORE DELETE ON clearing_days BEGIN
	SELECT RAISE(ABORT, 'days are append-only');
END;

CREATE TRIGGER clearing_days_frozen BEFORE UPDATE ON clearing_days BEGIN
	SELECT RAISE(ABORT, 'a day that was signed is frozen');
END;
