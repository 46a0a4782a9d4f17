-- What came in, from which source, under the name that the source gave it. Each
-- is booked once. What is in account is '' while nobody knows whose it is.
CREATE TABLE broker_fundings (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	source   TEXT    NOT NULL, -- bank, stripe or gateway:NAME
	id       TEXT    NOT NULL, -- the source's name for it
	payment  TEXT    NOT NULL, -- what the source's reversals name it by, or ''
	named    TEXT    NOT NULL, -- the account that the payment names, whether there is one or not
	account  TEXT    NOT NULL, -- that has it, or ''
	debit    TEXT    NOT NULL, -- the source's account in the ledger
	amount   INTEGER NOT NULL CHECK (amount > 0), -- micros
	currency TEXT    NOT NULL,
	reversed INTEGER NOT NULL CHECK (reversed BETWEEN 0 AND amount), -- of that, gone back to the source, micros
	version  INTEGER NOT NULL,
	created  INTEGER NOT NULL, -- microseconds since 1970
	UNIQUE (source, id)
) STRICT;

CREATE INDEX broker_fundings_payment ON broker_fundings (source, payment);
CREATE INDEX broker_fundings_source ON broker_fundings (source, created);
CREATE INDEX broker_fundings_account ON broker_fundings (account, seq);

-- What a source took back, or wants back, of a payment. It may arrive before
-- the payment does.
CREATE TABLE broker_reversals (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	source   TEXT    NOT NULL,
	id       TEXT    NOT NULL, -- the source's name for it
	payment  TEXT    NOT NULL,
	cause    TEXT    NOT NULL, -- refund or dispute
	amount   INTEGER NOT NULL CHECK (amount >= 0), -- in all, micros
	currency TEXT    NOT NULL,
	ended    INTEGER NOT NULL CHECK (ended IN (0, 1)), -- 1: undone for good
	created  INTEGER NOT NULL, -- microseconds since 1970
	UNIQUE (source, id)
) STRICT;

CREATE INDEX broker_reversals_payment ON broker_reversals (source, payment);

-- Accounts that owe, or owed, what was taken back after it was spent. How much
-- is in the ledger, in user:ID:owed. version counts what was collected.
CREATE TABLE broker_debts (
	account TEXT    NOT NULL PRIMARY KEY REFERENCES broker_accounts (id),
	open    INTEGER NOT NULL CHECK (open IN (0, 1)),
	version INTEGER NOT NULL
) STRICT;

CREATE INDEX broker_debts_open ON broker_debts (account) WHERE open = 1;

-- Card purses and the like that put money on accounts by themselves.
CREATE TABLE broker_gateways (
	name      TEXT    NOT NULL PRIMARY KEY,
	key_id    TEXT    NOT NULL UNIQUE, -- RFC 7638 thumbprint
	key       BLOB    NOT NULL, -- Ed25519, 32 bytes
	day_limit INTEGER NOT NULL CHECK (day_limit >= 0), -- micros that it may book in a day (UTC); 0: none
	created   INTEGER NOT NULL -- microseconds since 1970
) STRICT;

ALTER TABLE broker_answers ADD COLUMN status INTEGER NOT NULL DEFAULT 200;
