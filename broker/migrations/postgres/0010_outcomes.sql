-- What clearing learnt from the bank about accounts. Clearing writes the rows,
-- the broker does what they say, in their order, each once.
CREATE TABLE broker_outcomes (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('payout-paid', 'payout-refused', 'payout-returned', 'debit-collected', 'debit-returned')),
	account    TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	id         TEXT COLLATE "C" NOT NULL, -- the payout's, or the end-to-end id of the direct debit
	amount     BIGINT NOT NULL CHECK (amount > 0), -- micros
	note       TEXT COLLATE "C" NOT NULL, -- the bank's reference or reason, 1 to 200 characters
	state      TEXT COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'applied', 'failed')),
	detail     TEXT COLLATE "C" NOT NULL DEFAULT '', -- why it failed
	created    BIGINT NOT NULL, -- microseconds since 1970
	applied    BIGINT NOT NULL DEFAULT 0, -- microseconds since 1970
	UNIQUE (kind, account, id)
);

CREATE INDEX broker_outcomes_waiting ON broker_outcomes (seq) WHERE state = 'waiting';
CREATE INDEX broker_outcomes_failed ON broker_outcomes (seq) WHERE state = 'failed';

-- The clearing's order to the bank that pays it, by its end-to-end id; '': none.
-- While it is set, what the bank says ends the payout, and nobody does by hand.
ALTER TABLE broker_payouts ADD COLUMN instruction TEXT COLLATE "C" NOT NULL DEFAULT '';
