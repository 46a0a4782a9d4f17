-- What statements are made of, as it was when the run collected it.
CREATE TABLE clearing_evidence (
	run_id     TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	vendor     TEXT COLLATE "C" NOT NULL, -- origin
	commitment TEXT COLLATE "C" NOT NULL,
	account    TEXT COLLATE "C" NOT NULL, -- of the broker
	amount     BIGINT NOT NULL CHECK (amount > 0), -- paid within the period, micros
	paid       BIGINT NOT NULL, -- paid up to the cut-off in all, micros
	tails      BYTEA NOT NULL, -- for each chain of the commitment index (4 bytes, big endian) and payword
	claim      TEXT COLLATE "C" NOT NULL, -- token
	claim_key  BYTEA NOT NULL, -- of the vendor, that signed the claim; empty: it was withdrawn
	PRIMARY KEY (run_id, vendor, commitment)
);

CREATE INDEX clearing_evidence_account ON clearing_evidence (run_id, account, commitment, amount);

-- The leaves of a day's tree, in their order.
CREATE TABLE clearing_statements (
	run_id      TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	number      BIGINT NOT NULL, -- 0 and up
	kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('vendor', 'user')),
	party       TEXT COLLATE "C" NOT NULL, -- origin or account
	commitments BIGINT NOT NULL,
	digest      BYTEA NOT NULL, -- SHA-256 of the statement
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, kind, party)
);

-- What was published of a day.
CREATE TABLE clearing_days (
	run_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES clearing_runs (id),
	number   BIGINT NOT NULL UNIQUE, -- 1 and up
	root     BYTEA NOT NULL,
	leaves   BIGINT NOT NULL,
	previous TEXT COLLATE "C" NOT NULL, -- SHA-256 of the token of the day before, hexadecimal; '': it is the first
	token    TEXT COLLATE "C" NOT NULL, -- a JWS by the clearing's key
	created  BIGINT NOT NULL -- microseconds since 1970
);

CREATE TRIGGER clearing_evidence_keep BEFORE DELETE OR TRUNCATE ON clearing_evidence
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_statements_keep BEFORE DELETE OR UPDATE OR TRUNCATE ON clearing_statements
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_days_keep BEFORE DELETE OR UPDATE OR TRUNCATE ON clearing_days
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();
