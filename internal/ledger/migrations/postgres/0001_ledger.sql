-- Accounts carry their balance so that one UPDATE can compare and swap it; the
-- transfers alone are the truth, and Check recomputes the one from the other.
-- Ids compare byte by byte, as in SQLite.
CREATE TABLE accounts (
	id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	currency TEXT COLLATE "C" NOT NULL,
	floor    BIGINT NOT NULL, -- lowest balance allowed, micros
	balance  BIGINT NOT NULL DEFAULT 0, -- credits minus debits, micros
	pending  BIGINT NOT NULL DEFAULT 0, -- debits promised and not ended, micros
	created  BIGINT NOT NULL, -- microseconds since 1970
	CHECK (pending >= 0),
	CHECK (floor >= -4000000000000000000),
	CHECK (balance <= 4000000000000000000),
	CHECK (balance - pending >= floor)
);

-- Balances change all the time: room on each page lets a row be updated in
-- place, without touching the indexes.
ALTER TABLE accounts SET (fillfactor = 70);

CREATE TABLE transfers (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id         TEXT COLLATE "C" NOT NULL UNIQUE, -- chosen by the client: the idempotency key
	phase      TEXT COLLATE "C" NOT NULL CHECK (phase IN ('single', 'pending', 'post', 'void', 'expire')),
	pending_id TEXT COLLATE "C" REFERENCES transfers (id), -- the pending transfer that this one ends
	debit      TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
	credit     TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
	amount     BIGINT NOT NULL CHECK (amount BETWEEN 1 AND 999999999999999), -- micros
	currency   TEXT COLLATE "C" NOT NULL,
	kind       TEXT COLLATE "C" NOT NULL,
	reference  TEXT COLLATE "C" NOT NULL,
	expires    BIGINT NOT NULL, -- microseconds since 1970; 0 is never
	created    BIGINT NOT NULL, -- microseconds since 1970
	CHECK (debit <> credit),
	CHECK ((pending_id IS NULL) = (phase IN ('single', 'pending')))
);

-- A pending transfer ends once.
CREATE UNIQUE INDEX transfers_ending ON transfers (pending_id) WHERE pending_id IS NOT NULL;
CREATE INDEX transfers_debit ON transfers (debit, seq);
CREATE INDEX transfers_credit ON transfers (credit, seq);
CREATE INDEX transfers_due ON transfers (expires) WHERE phase = 'pending' AND expires > 0;

CREATE FUNCTION ledger_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% are append-only', TG_TABLE_NAME;
END $$;

CREATE FUNCTION ledger_account_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'an account keeps its id, currency and time';
END $$;

CREATE TRIGGER accounts_keep BEFORE DELETE OR TRUNCATE ON accounts
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_keep();
CREATE TRIGGER accounts_identity BEFORE UPDATE OF id, currency, created ON accounts
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_account_identity();
CREATE TRIGGER transfers_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_keep();

-- Holds nothing: Updates lock it, most of them together, one that others were
-- in the way of by itself.
CREATE TABLE payword_turns (none BIGINT);
