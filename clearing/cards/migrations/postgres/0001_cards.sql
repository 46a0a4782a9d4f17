-- Purse cards as clearing sees them. Identifiers of cards and merchants are 16
-- upper-case hexadecimal digits, amounts are micros.

CREATE TABLE cards_fee_rules (
	version TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- names one rule for ever
	rule    TEXT COLLATE "C" NOT NULL, -- canonical JSON
	created BIGINT NOT NULL -- microseconds since 1970
);

-- Merchants who take cards. What they are owed stands on their account of the
-- ledger, with the fee of each payment taken off already: a settlement run pays
-- it out without another one.
CREATE TABLE cards_merchants (
	mid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	key_version BIGINT NOT NULL CHECK (key_version BETWEEN 0 AND 255),
	name        TEXT COLLATE "C" NOT NULL, -- 1 to 70 characters, for bank files
	destination TEXT COLLATE "C" NOT NULL, -- iban:, ach: or ref: and the rest; '': none yet
	currency    TEXT COLLATE "C" NOT NULL,
	state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'blocked')), -- blocked: not paid out
	account     TEXT COLLATE "C" NOT NULL UNIQUE, -- of the ledger, merchant:MID:payable
	last_batch  BIGINT NOT NULL DEFAULT 0, -- number of the last batch that was taken
	last_tno    BIGINT NOT NULL DEFAULT 0, -- of the last transaction in it
	created     BIGINT NOT NULL -- microseconds since 1970
);

CREATE TABLE cards_cards (
	cid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	key_version BIGINT NOT NULL CHECK (key_version BETWEEN 0 AND 255),
	holder      TEXT COLLATE "C" NOT NULL, -- ANo, 16 hexadecimal digits; 0000000000000000: a white card
	account     TEXT COLLATE "C" NOT NULL, -- of the broker; '': a white card
	currency    TEXT COLLATE "C" NOT NULL,
	exponent    BIGINT NOT NULL CHECK (exponent BETWEEN -6 AND 0), -- of ten, of the card's unit: -2 is cents
	max_balance BIGINT NOT NULL CHECK (max_balance >= 0),
	expires     BIGINT NOT NULL, -- seconds since 1970: no load from then on
	state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'lost', 'broken', 'closed', 'unknown')), -- unknown: nobody issued it, and it paid
	reported    BIGINT NOT NULL DEFAULT 0, -- seconds since 1970, as are the next: lost or broken
	claim_until BIGINT NOT NULL DEFAULT 0, -- what is left is paid back from then on
	listed      BIGINT NOT NULL DEFAULT 0, -- on the hot list since
	refunded    BIGINT NOT NULL DEFAULT 0 CHECK (refunded >= 0), -- paid back when it was closed
	refund_ref  TEXT COLLATE "C" NOT NULL DEFAULT '', -- to whom: account, or what was written down of a white card
	created     BIGINT NOT NULL -- microseconds since 1970
);

CREATE INDEX cards_cards_account ON cards_cards (account);
CREATE INDEX cards_cards_due ON cards_cards (claim_until) WHERE state IN ('lost', 'broken');
CREATE INDEX cards_cards_listed ON cards_cards (cid) WHERE listed > 0;

-- One load: pending from the authorisation until the card has said whether it
-- took the value.
CREATE TABLE cards_loads (
	ref       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- 16 hexadecimal digits, chosen by clearing
	cid       TEXT COLLATE "C" NOT NULL REFERENCES cards_cards (cid),
	lno       BIGINT NOT NULL,
	amount    BIGINT NOT NULL CHECK (amount > 0),
	account   TEXT COLLATE "C" NOT NULL, -- of the ledger, that pays for it
	state     TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'posted', 'void')),
	request   BYTEA NOT NULL, -- the command's data and the card's answer, which together ask for it
	credit    BYTEA NOT NULL, -- data of the CREDIT command
	challenge BYTEA NOT NULL, -- 16 bytes that LOAD STATUS must repeat; none: nobody asked
	evidence  TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (evidence IN ('', 'receipt', 'status', 'payment', 'load', 'closed')), -- what ended it
	created   BIGINT NOT NULL, -- microseconds since 1970, as is the next
	ended     BIGINT NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX cards_loads_number ON cards_loads (cid, lno) WHERE state <> 'void';
CREATE UNIQUE INDEX cards_loads_open ON cards_loads (cid) WHERE state = 'pending';
CREATE INDEX cards_loads_pending ON cards_loads (created) WHERE state = 'pending';

CREATE TABLE cards_batches (
	mid      TEXT COLLATE "C" NOT NULL REFERENCES cards_merchants (mid),
	bno      BIGINT NOT NULL, -- 1 and up, without a gap
	first    BIGINT NOT NULL, -- TNo of the first record
	last     BIGINT NOT NULL,
	payments BIGINT NOT NULL,
	voids    BIGINT NOT NULL,
	gross    BIGINT NOT NULL CHECK (gross >= 0), -- of its payments
	booked   BIGINT NOT NULL CHECK (booked >= 0), -- of that, by the batch: not paid before, online or on a claim
	fee      BIGINT NOT NULL CHECK (fee >= 0), -- of what the batch booked
	total    BYTEA NOT NULL, -- what the SAM signed, 68 bytes
	digest   BYTEA NOT NULL, -- SHA-256 of total and records
	ack      BYTEA NOT NULL, -- 16 bytes, data of ACK BATCH
	created  BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, bno)
);

-- A payment that a card proved. mid, key versions and the rest make its bytes
-- again; what they say is never changed.
CREATE TABLE cards_payments (
	mid      TEXT COLLATE "C" NOT NULL REFERENCES cards_merchants (mid),
	tno      BIGINT NOT NULL,
	cid      TEXT COLLATE "C" NOT NULL REFERENCES cards_cards (cid),
	sno      BIGINT NOT NULL,
	lno      BIGINT NOT NULL,
	amount   BIGINT NOT NULL CHECK (amount > 0),
	balance  BIGINT NOT NULL, -- on the card after it, by the card
	fee      BIGINT NOT NULL CHECK (fee >= 0 AND fee <= amount),
	fee_rule TEXT COLLATE "C" NOT NULL, -- version; '': no fee was taken
	made     BIGINT NOT NULL, -- seconds since 1970, by the merchant
	proof    BYTEA NOT NULL, -- 53 bytes
	macz     BYTEA NOT NULL, -- 16 bytes
	bno      BIGINT NOT NULL DEFAULT 0, -- of the batch that has it; 0: none yet
	source   TEXT COLLATE "C" NOT NULL CHECK (source IN ('online', 'batch', 'claim')), -- who brought it first
	repeated BIGINT NOT NULL CHECK (repeated IN (0, 1)), -- the card used its SNo before
	state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('paid', 'disputed', 'refunded')),
	created  BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno)
);

CREATE UNIQUE INDEX cards_payments_number ON cards_payments (cid, sno) WHERE repeated = 0;
CREATE INDEX cards_payments_batch ON cards_payments (mid, bno);

-- A transaction that a SAM began and ended without a payment.
CREATE TABLE cards_voids (
	mid     TEXT COLLATE "C" NOT NULL REFERENCES cards_merchants (mid),
	tno     BIGINT NOT NULL,
	bno     BIGINT NOT NULL,
	cid     TEXT COLLATE "C" NOT NULL, -- 0000000000000000: none was there
	sno     BIGINT NOT NULL,
	amount  BIGINT NOT NULL, -- in the unit of the card
	made    BIGINT NOT NULL, -- seconds since 1970, by the merchant
	proved  BIGINT NOT NULL CHECK (proved BETWEEN 0 AND 2), -- 0 nothing, 1 by the card, 2 no order left the SAM
	created BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno)
);

-- What cannot be if cards and keys are sound. Somebody looks at each.
CREATE TABLE cards_alarms (
	seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind     TEXT COLLATE "C" NOT NULL, -- such as overspent or balance
	cid      TEXT COLLATE "C" NOT NULL,
	mid      TEXT COLLATE "C" NOT NULL, -- ''; and 0 as tno: it is not about a payment
	tno      BIGINT NOT NULL,
	number   BIGINT NOT NULL, -- SNo, or LNo of a load
	detail   TEXT COLLATE "C" NOT NULL, -- figures, for people
	evidence BYTEA NOT NULL, -- the bytes with their MAC
	state    TEXT COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged')),
	operator TEXT COLLATE "C" NOT NULL DEFAULT '', -- who acknowledged it
	note     TEXT COLLATE "C" NOT NULL DEFAULT '',
	created  BIGINT NOT NULL, -- microseconds since 1970, as is the next
	ended    BIGINT NOT NULL DEFAULT 0,
	UNIQUE (kind, cid, mid, tno, number)
);

CREATE INDEX cards_alarms_open ON cards_alarms (created) WHERE state = 'open';

-- Money of a payment that holder and merchant both may have; at most once for
-- each transaction.
CREATE TABLE cards_disputes (
	mid      TEXT COLLATE "C" NOT NULL,
	tno      BIGINT NOT NULL,
	cid      TEXT COLLATE "C" NOT NULL,
	amount   BIGINT NOT NULL CHECK (amount > 0),
	reason   TEXT COLLATE "C" NOT NULL CHECK (reason IN ('no-record', 'void', 'proved-void', 'objection')),
	note     TEXT COLLATE "C" NOT NULL, -- of whoever opened it
	state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'holder', 'merchant')), -- who has the money
	rule     TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (rule IN ('', 'void', 'record', 'no-record', 'operator')), -- what decided it
	operator TEXT COLLATE "C" NOT NULL DEFAULT '',
	due      BIGINT NOT NULL, -- seconds since 1970: decided by itself then; 0: by an operator
	created  BIGINT NOT NULL, -- microseconds since 1970, as is the next
	ended    BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (mid, tno),
	FOREIGN KEY (mid, tno) REFERENCES cards_payments (mid, tno)
);

CREATE INDEX cards_disputes_open ON cards_disputes (due) WHERE state = 'open';

-- Batches that a SAM signed and that were not taken.
CREATE TABLE cards_refusals (
	mid    TEXT COLLATE "C" NOT NULL REFERENCES cards_merchants (mid),
	bno    BIGINT NOT NULL,
	reason TEXT COLLATE "C" NOT NULL,
	record BIGINT NOT NULL, -- in the batch, 1 and up; 0: the total
	detail TEXT COLLATE "C" NOT NULL,
	times  BIGINT NOT NULL,
	first  BIGINT NOT NULL, -- microseconds since 1970, as is the next
	last   BIGINT NOT NULL,
	PRIMARY KEY (mid, bno, reason)
);

CREATE FUNCTION cards_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% are append-only, and what they say is frozen', TG_TABLE_NAME;
END $$;

CREATE TRIGGER cards_fee_rules_keep BEFORE DELETE OR TRUNCATE ON cards_fee_rules
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_fee_rules_frozen BEFORE UPDATE ON cards_fee_rules
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_loads_keep BEFORE DELETE OR TRUNCATE ON cards_loads
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_batches_keep BEFORE DELETE OR TRUNCATE ON cards_batches
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_batches_frozen BEFORE UPDATE ON cards_batches
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_payments_keep BEFORE DELETE OR TRUNCATE ON cards_payments
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_payments_frozen BEFORE UPDATE OF mid, tno, cid, sno, lno, amount, balance, made, proof, macz, source, repeated, created ON cards_payments
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_voids_keep BEFORE DELETE OR TRUNCATE ON cards_voids
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_voids_frozen BEFORE UPDATE ON cards_voids
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_alarms_keep BEFORE DELETE OR TRUNCATE ON cards_alarms
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();
