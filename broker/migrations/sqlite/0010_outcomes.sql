-- What clearing learnt from the bank about accounts. Clearing writes the rows,
-- the broker does what they say, in their order, each once.
CREATE TABLE broker_outcomes (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	kind       TEXT    NOT NULL CHECK (kind IN ('payout-paid', 'payout-refused', 'payout-returned', 'debit-collected', 'debit-returned')),
	account    TEXT    NOT NULL REFERENCES broker_accounts (id),
	id         TEXT    NOT NULL, -- the payout's, or the end-to-end id of the direct debit
	amount     INTEGER NOT NULL CHECK (amount > 0), -- micros
	note       TEXT    NOT NULL, -- the bank's reference or reason, 1 to 200 characters
	state      TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'applied', 'failed')),
	detail     TEXT    NOT NULL DEFAULT '', -- why it failed
	created    INTEGER NOT NULL, -- microseconds since 1970
	applied    INTEGER NOT NULL DEFAULT 0, -- microseconds since 1970
	UNIQUE (kind, account, id)
) STRICT;

CREATE INDEX broker_outcomes_waiting ON broker_outcomes (seq) WHERE state = 'waiting';
CREATE INDEX broker_outcomes_failed ON broker_outcomes (seq) WHERE state = 'failed';

-- The clearing's order to the bank that pays it, by its end-to-end id; '': none.
-- While it is set, what the bank says ends the payout, and nobody does by hand.
ALTER TABLE broker_payouts ADD COLUMN instruction TEXT NOT NULL DEFAULT '';
