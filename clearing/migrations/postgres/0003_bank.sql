-- What the bank said, and what it was allowed to debit.

CREATE TABLE clearing_mandates (
	id      TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- up to 35 characters, the bank's mandate id
	account TEXT COLLATE "C" NOT NULL, -- of the broker
	name    TEXT COLLATE "C" NOT NULL, -- of the debtor
	iban    TEXT COLLATE "C" NOT NULL,
	bic     TEXT COLLATE "C" NOT NULL, -- or ''
	signed  TEXT COLLATE "C" NOT NULL, -- a day, 2026-11-22
	scheme  TEXT COLLATE "C" NOT NULL CHECK (scheme IN ('core', 'b2b')),
	state   TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'withdrawn')),
	used    BIGINT NOT NULL DEFAULT 0, -- collections that were sent with it; 0: the next one is the first
	created BIGINT NOT NULL -- microseconds since 1970
);

CREATE UNIQUE INDEX clearing_mandates_active ON clearing_mandates (account) WHERE state = 'active';

-- Files of the bank, each read once.
CREATE TABLE clearing_bank_documents (
	id         TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- SHA-256 of its bytes, hexadecimal
	kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('pain.002', 'camt.053', 'camt.054', 'manual')),
	message_id TEXT COLLATE "C" NOT NULL,
	operator   TEXT COLLATE "C" NOT NULL,
	entries    BIGINT NOT NULL,
	created    BIGINT NOT NULL -- microseconds since 1970
);

CREATE TABLE clearing_bank_entries (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	document   TEXT COLLATE "C" NOT NULL REFERENCES clearing_bank_documents (id),
	number     BIGINT NOT NULL, -- in the document
	end_to_end TEXT COLLATE "C" NOT NULL, -- that it names, or ''
	says       TEXT COLLATE "C" NOT NULL CHECK (says IN ('accepted', 'rejected', 'booked', 'returned', 'other')),
	account    TEXT COLLATE "C" NOT NULL DEFAULT '', -- of ours that is booked on, by its IBAN, or ''
	direction  TEXT COLLATE "C" NOT NULL CHECK (direction IN ('out', 'in', '')), -- of the bank's booking
	amount     BIGINT NOT NULL, -- micros; 0: it says none
	currency   TEXT COLLATE "C" NOT NULL, -- or ''
	day        TEXT COLLATE "C" NOT NULL, -- of the booking, or ''
	code       TEXT COLLATE "C" NOT NULL, -- the bank's reason, or ''
	bank_ref   TEXT COLLATE "C" NOT NULL, -- the bank's own name for the entry, or ''
	state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('matched', 'repeated', 'unmatched', 'resolved')),
	note       TEXT COLLATE "C" NOT NULL, -- why it is unmatched, or how it was resolved
	created    BIGINT NOT NULL, -- microseconds since 1970
	UNIQUE (document, number)
);

CREATE INDEX clearing_bank_entries_unmatched ON clearing_bank_entries (created) WHERE state = 'unmatched';
CREATE INDEX clearing_bank_entries_instruction ON clearing_bank_entries (end_to_end);

-- Closing balances that the bank's statements say.
CREATE TABLE clearing_bank_balances (
	document TEXT COLLATE "C" NOT NULL REFERENCES clearing_bank_documents (id),
	iban     TEXT COLLATE "C" NOT NULL,
	day      TEXT COLLATE "C" NOT NULL,
	opening  BIGINT NOT NULL, -- micros
	closing  BIGINT NOT NULL,
	currency TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (document, iban, day)
);

CREATE INDEX clearing_bank_balances_day ON clearing_bank_balances (iban, day);

-- What is kept of a collection for a refund that may still come.
CREATE TABLE clearing_reserves (
	end_to_end TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES clearing_instructions (end_to_end),
	amount     BIGINT NOT NULL CHECK (amount > 0), -- micros
	until      BIGINT NOT NULL, -- seconds since 1970
	state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('held', 'released', 'used')),
	ended      BIGINT NOT NULL DEFAULT 0 -- microseconds since 1970
);

CREATE INDEX clearing_reserves_due ON clearing_reserves (until) WHERE state = 'held';
