-- What the bank said, and what it was allowed to debit.

CREATE TABLE clearing_mandates (
	id      TEXT    NOT NULL PRIMARY KEY, -- up to 35 characters, the bank's mandate id
	account TEXT    NOT NULL, -- of the broker
	name    TEXT    NOT NULL, -- of the debtor
	iban    TEXT    NOT NULL,
	bic     TEXT    NOT NULL, -- or ''
	signed  TEXT    NOT NULL, -- a day, 2026-11-22
	scheme  TEXT    NOT NULL CHECK (scheme IN ('core', 'b2b')),
	state   TEXT    NOT NULL CHECK (state IN ('active', 'withdrawn')),
	used    INTEGER NOT NULL DEFAULT 0, -- collections that were sent with it; 0: the next one is the first
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE UNIQUE INDEX clearing_mandates_active ON clearing_mandates (account) WHERE state = 'active';

-- Files of the bank, each read once.
CREATE TABLE clearing_bank_documents (
	id         TEXT    NOT NULL PRIMARY KEY, -- SHA-256 of its bytes, hexadecimal
	kind       TEXT    NOT NULL CHECK (kind IN ('pain.002', 'camt.053', 'camt.054', 'manual')),
	message_id TEXT    NOT NULL,
	operator   TEXT    NOT NULL,
	entries    INTEGER NOT NULL,
	created    INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE TABLE clearing_bank_entries (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	document   TEXT    NOT NULL REFERENCES clearing_bank_documents (id),
	number     INTEGER NOT NULL, -- in the document
	end_to_end TEXT    NOT NULL, -- that it names, or ''
	says       TEXT    NOT NULL CHECK (says IN ('accepted', 'rejected', 'booked', 'returned', 'other')),
	account    TEXT    NOT NULL DEFAULT '', -- of ours that is booked on, by its IBAN, or ''
	direction  TEXT    NOT NULL CHECK (direction IN ('out', 'in', '')), -- of the bank's booking
	amount     INTEGER NOT NULL, -- micros; 0: it says none
	currency   TEXT    NOT NULL, -- or ''
	day        TEXT    NOT NULL, -- of the booking, or ''
	code       TEXT    NOT NULL, -- the bank's reason, or ''
	bank_ref   TEXT    NOT NULL, -- the bank's own name for the entry, or ''
	state      TEXT    NOT NULL CHECK (state IN ('matched', 'repeated', 'unmatched', 'resolved')),
	note       TEXT    NOT NULL, -- why it is unmatched, or how it was resolved
	created    INTEGER NOT NULL, -- microseconds since 1970
	UNIQUE (document, number)
) STRICT;

CREATE INDEX clearing_bank_entries_unmatched ON clearing_bank_entries (created) WHERE state = 'unmatched';
CREATE INDEX clearing_bank_entries_instruction ON clearing_bank_entries (end_to_end);

-- Closing balances that the bank's statements say.
CREATE TABLE clearing_bank_balances (
	document TEXT    NOT NULL REFERENCES clearing_bank_documents (id),
	iban     TEXT    NOT NULL,
	day      TEXT    NOT NULL,
	opening  INTEGER NOT NULL, -- micros
	closing  INTEGER NOT NULL,
	currency TEXT    NOT NULL,
	PRIMARY KEY (document, iban, day)
) STRICT;

CREATE INDEX clearing_bank_balances_day ON clearing_bank_balances (iban, day);

-- What is kept of a collection for a refund that may still come.
CREATE TABLE clearing_reserves (
	end_to_end TEXT    NOT NULL PRIMARY KEY REFERENCES clearing_instructions (end_to_end),
	amount     INTEGER NOT NULL CHECK (amount > 0), -- micros
	until      INTEGER NOT NULL, -- seconds since 1970
	state      TEXT    NOT NULL CHECK (state IN ('held', 'released', 'used')),
	ended      INTEGER NOT NULL DEFAULT 0 -- microseconds since 1970
) STRICT;

CREATE INDEX clearing_reserves_due ON clearing_reserves (until) WHERE state = 'held';
