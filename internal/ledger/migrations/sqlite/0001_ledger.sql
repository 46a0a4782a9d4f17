-- Accounts carry their balance so that one UPDATE can compare and swap it; the
-- transfers alone are the truth, and Check recomputes the one from the other.
CREATE TABLE accounts (
	id       TEXT    NOT NULL PRIMARY KEY,
	currency TEXT    NOT NULL,
	floor    INTEGER NOT NULL, -- lowest balance allowed, micros
	balance  INTEGER NOT NULL DEFAULT 0, -- credits minus debits, micros
	pending  INTEGER NOT NULL DEFAULT 0, -- debits promised and not ended, micros
	created  INTEGER NOT NULL, -- microseconds since 1970
	CHECK (pending >= 0),
	CHECK (floor >= -4000000000000000000),
	CHECK (balance <= 4000000000000000000),
	CHECK (balance - pending >= floor)
) STRICT;

CREATE TRIGGER accounts_keep BEFORE DELETE ON accounts BEGIN
	SELECT RAISE(ABORT, 'accounts are append-only');
END;

CREATE TRIGGER accounts_identity BEFORE UPDATE OF id, currency, created ON accounts BEGIN
	SELECT RAISE(ABORT, 'an account keeps its id, currency and time');
END;

CREATE TABLE transfers (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT    NOT NULL UNIQUE, -- chosen by the client: the idempotency key
	phase      TEXT    NOT NULL CHECK (phase IN ('single', 'pending', 'post', 'void', 'expire')),
	pending_id TEXT    REFERENCES transfers (id), -- the pending transfer that this one ends
	debit      TEXT    NOT NULL REFERENCES accounts (id),
	credit     TEXT    NOT NULL REFERENCES accounts (id),
	amount     INTEGER NOT NULL CHECK (amount BETWEEN 1 AND 999999999999999), -- micros
	currency   TEXT    NOT NULL,
	kind       TEXT    NOT NULL,
	reference  TEXT    NOT NULL,
	expires    INTEGER NOT NULL, -- microseconds since 1970; 0 is never
	created    INTEGER NOT NULL, -- microseconds since 1970
	CHECK (debit <> credit),
	CHECK ((pending_id IS NULL) = (phase IN ('single', 'pending')))
) STRICT;

-- A pending transfer ends once.
CREATE UNIQUE INDEX transfers_ending ON transfers (pending_id) WHERE pending_id IS NOT NULL;
CREATE INDEX transfers_debit ON transfers (debit, seq);
CREATE INDEX transfers_credit ON transfers (credit, seq);
CREATE INDEX transfers_due ON transfers (expires) WHERE phase = 'pending' AND expires > 0;

CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers BEGIN
	SELECT RAISE(ABORT, 'transfers are append-only');
END;

CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers BEGIN
	SELECT RAISE(ABORT, 'transfers are append-only');
END;

-- REPLACE deletes without firing delete triggers, so it is met before it acts.
CREATE TRIGGER transfers_no_replace BEFORE INSERT ON transfers
WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id OR seq = NEW.seq) BEGIN
	SELECT RAISE(ABORT, 'transfers are append-only');
END;

CREATE TRIGGER accounts_no_replace BEFORE INSERT ON accounts
WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.id) BEGIN
	SELECT RAISE(ABORT, 'accounts are append-only');
END;
