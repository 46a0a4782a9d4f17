-- Purse cards as clearing sees them. Identifiers of cards and merchants are 16
-- upper-case hexadecimal digits, amounts are micros.

CREATE TABLE cards_fee_rules (
	version TEXT    NOT NULL PRIMARY KEY, -- names one rule for ever
	rule    TEXT    NOT NULL, -- canonical JSON
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- Merchants who take cards. What they are owed stands on their account of the
-- ledger, with the fee of each payment taken off already: a settlement run pays
-- it out without another one.
CREATE TABLE cards_merchants (
	mid         TEXT    NOT NULL PRIMARY KEY,
	key_version INTEGER NOT NULL CHECK (key_version BETWEEN 0 AND 255),
	name        TEXT    NOT NULL, -- 1 to 70 characters, for bank files
	destination TEXT    NOT NULL, -- iban:, ach: or ref: and the rest; '': none yet
	currency    TEXT    NOT NULL,
	state       TEXT    NOT NULL CHECK (state IN ('open', 'blocked')), -- blocked: not paid out
	account     TEXT    NOT NULL UNIQUE, -- of the ledger, merchant:MID:payable
	last_batch  INTEGER NOT NULL DEFAULT 0, -- number of the last batch that was taken
	last_tno    INTEGER NOT NULL DEFAULT 0, -- of the last transaction in it
	created     INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE TABLE cards_cards (
	cid         TEXT    NOT NULL PRIMARY KEY,
	key_version INTEGER NOT NULL CHECK (key_version BETWEEN 0 AND 255),
	holder      TEXT    NOT NULL, -- ANo, 16 hexadecimal digits; 0000000000000000: a white card
	account     TEXT    NOT NULL, -- of the broker; '': a white card
	currency    TEXT    NOT NULL,
	exponent    INTEGER NOT NULL CHECK (exponent BETWEEN -6 AND 0), -- of ten, of the card's unit: -2 is cents
	max_balance INTEGER NOT NULL CHECK (max_balance >= 0),
	expires     INTEGER NOT NULL, -- seconds since 1970: no load from then on
	state       TEXT    NOT NULL CHECK (state IN ('active', 'lost', 'broken', 'closed', 'unknown')), -- unknown: nobody issued it, and it paid
	reported    INTEGER NOT NULL DEFAULT 0, -- seconds since 1970, as are the next: lost or broken
	claim_until INTEGER NOT NULL DEFAULT 0, -- what is left is paid back from then on
	listed      INTEGER NOT NULL DEFAULT 0, -- on the hot list since
	refunded    INTEGER NOT NULL DEFAULT 0 CHECK (refunded >= 0), -- paid back when it was closed
	refund_ref  TEXT    NOT NULL DEFAULT '', -- to whom: account, or what was written down of a white card
	created     INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE INDEX cards_cards_account ON cards_cards (account);
CREATE INDEX cards_cards_due ON cards_cards (claim_until) WHERE state IN ('lost', 'broken');
CREATE INDEX cards_cards_listed ON cards_cards (cid) WHERE listed > 0;

-- One load: pending from the authorisation until the card has said whether it
-- took the value.
CREATE TABLE cards_loads (
	ref       TEXT    NOT NULL PRIMARY KEY, -- 16 hexadecimal digits, chosen by clearing
	cid       TEXT    NOT NULL REFERENCES cards_cards (cid),
	lno       INTEGER NOT NULL,
	amount    INTEGER NOT NULL CHECK (amount > 0),
	account   TEXT    NOT NULL, -- of the ledger, that pays for it
	state     TEXT    NOT NULL CHECK (state IN ('pending', 'posted', 'void')),
	request   BLOB    NOT NULL, -- the command's data and the card's answer, which together ask for it
	credit    BLOB    NOT NULL, -- data of the CREDIT command
	challenge BLOB    NOT NULL, -- 16 bytes that LOAD STATUS must repeat; none: nobody asked
	evidence  TEXT    NOT NULL DEFAULT '' CHECK (evidence IN ('', 'receipt', 'status', 'payment', 'load', 'closed')), -- what ended it
	created   INTEGER NOT NULL, -- microseconds since 1970, as is the next
	ended     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX cards_loads_number ON cards_loads (cid, lno) WHERE state <> 'void';
CREATE UNIQUE INDEX cards_loads_open ON cards_loads (cid) WHERE state = 'pending';
CREATE INDEX cards_loads_pending ON cards_loads (created) WHERE state = 'pending';

CREATE TABLE cards_batches (
	mid      TEXT    NOT NULL REFERENCES cards_merchants (mid),
	bno      INTEGER NOT NULL, -- 1 and up, without a gap
	first    INTEGER NOT NULL, -- TNo of the first record
	last     INTEGER NOT NULL,
	payments INTEGER NOT NULL,
	voids    INTEGER NOT NULL,
	gross    INTEGER NOT NULL CHECK (gross >= 0), -- of its payments
	booked   INTEGER NOT NULL CHECK (booked >= 0), -- of that, by the batch: not paid before, online or on a claim
	fee      INTEGER NOT NULL CHECK (fee >= 0), -- of what the batch booked
	total    BLOB    NOT NULL, -- what the SAM signed, 68 bytes
	digest   BLOB    NOT NULL, -- SHA-256 of total and records
	ack      BLOB    NOT NULL, -- 16 bytes, data of ACK BATCH
	created  INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, bno)
) STRICT;

-- A payment that a card proved. mid, key versions and the rest make its bytes
-- again; what they say is never changed.
CREATE TABLE cards_payments (
	mid      TEXT    NOT NULL REFERENCES cards_merchants (mid),
	tno      INTEGER NOT NULL,
	cid      TEXT    NOT NULL REFERENCES cards_cards (cid),
	sno      INTEGER NOT NULL,
	lno      INTEGER NOT NULL,
	amount   INTEGER NOT NULL CHECK (amount > 0),
	balance  INTEGER NOT NULL, -- on the card after it, by the card
	fee      INTEGER NOT NULL CHECK (fee >= 0 AND fee <= amount),
	fee_rule TEXT    NOT NULL, -- version; '': no fee was taken
	made     INTEGER NOT NULL, -- seconds since 1970, by the merchant
	proof    BLOB    NOT NULL, -- 53 bytes
	macz     BLOB    NOT NULL, -- 16 bytes
	bno      INTEGER NOT NULL DEFAULT 0, -- of the batch that has it; 0: none yet
	source   TEXT    NOT NULL CHECK (source IN ('online', 'batch', 'claim')), -- who brought it first
	repeated INTEGER NOT NULL CHECK (repeated IN (0, 1)), -- the card used its SNo before
	state    TEXT    NOT NULL CHECK (state IN ('paid', 'disputed', 'refunded')),
	created  INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno)
) STRICT;

CREATE UNIQUE INDEX cards_payments_number ON cards_payments (cid, sno) WHERE repeated = 0;
CREATE INDEX cards_payments_batch ON cards_payments (mid, bno);

-- A transaction that a SAM began and ended without a payment.
CREATE TABLE cards_voids (
	mid     TEXT    NOT NULL REFERENCES cards_merchants (mid),
	tno     INTEGER NOT NULL,
	bno     INTEGER NOT NULL,
	cid     TEXT    NOT NULL, -- 0000000000000000: none was there
	sno     INTEGER NOT NULL,
	amount  INTEGER NOT NULL, -- in the unit of the card
	made    INTEGER NOT NULL, -- seconds since 1970, by the merchant
	proved  INTEGER NOT NULL CHECK (proved BETWEEN 0 AND 2), -- 0 nothing, 1 by the card, 2 no order left the SAM
	created INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno)
) STRICT;

-- What cannot be if cards and keys are sound. Somebody looks at each.
CREATE TABLE cards_alarms (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	kind     TEXT    NOT NULL, -- such as overspent or balance
	cid      TEXT    NOT NULL,
	mid      TEXT    NOT NULL, -- ''; and 0 as tno: it is not about a payment
	tno      INTEGER NOT NULL,
	number   INTEGER NOT NULL, -- SNo, or LNo of a load
	detail   TEXT    NOT NULL, -- figures, for people
	evidence BLOB    NOT NULL, -- the bytes with their MAC
	state    TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged')),
	operator TEXT    NOT NULL DEFAULT '', -- who acknowledged it
	note     TEXT    NOT NULL DEFAULT '',
	created  INTEGER NOT NULL, -- microseconds since 1970, as is the next
	ended    INTEGER NOT NULL DEFAULT 0,
	UNIQUE (kind, cid, mid, tno, number)
) STRICT;

CREATE INDEX cards_alarms_open ON cards_alarms (created) WHERE state = 'open';

-- Money of a payment that holder and merchant both may have; at most once for
-- each transaction.
CREATE TABLE cards_disputes (
	mid      TEXT    NOT NULL,
	tno      INTEGER NOT NULL,
	cid      TEXT    NOT NULL,
	amount   INTEGER NOT NULL CHECK (amount > 0),
	reason   TEXT    NOT NULL CHECK (reason IN ('no-record', 'void', 'proved-void', 'objection')),
	note     TEXT    NOT NULL, -- of whoever opened it
	state    TEXT    NOT NULL CHECK (state IN ('open', 'holder', 'merchant')), -- who has the money
	rule     TEXT    NOT NULL DEFAULT '' CHECK (rule IN ('', 'void', 'record', 'no-record', 'operator')), -- what decided it
	operator TEXT    NOT NULL DEFAULT '',
	due      INTEGER NOT NULL, -- seconds since 1970: decided by itself then; 0: by an operator
	created  INTEGER NOT NULL, -- microseconds since 1970, as is the next
	ended    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (mid, tno),
	FOREIGN KEY (mid, tno) REFERENCES cards_payments (mid, tno)
) STRICT;

CREATE INDEX cards_disputes_open ON cards_disputes (due) WHERE state = 'open';

-- Batches that a SAM signed and that were not taken.
CREATE TABLE cards_refusals (
	mid    TEXT    NOT NULL REFERENCES cards_merchants (mid),
	bno    INTEGER NOT NULL,
	reason TEXT    NOT NULL,
	record INTEGER NOT NULL, -- in the batch, 1 and up; 0: the total
	detail TEXT    NOT NULL,
	times  INTEGER NOT NULL,
	first  INTEGER NOT NULL, -- microseconds since 1970, as is the next
	last   INTEGER NOT NULL,
	PRIMARY KEY (mid, bno, reason)
) STRICT;

CREATE TRIGGER cards_fee_rules_keep BEFORE DELETE ON cards_fee_rules BEGIN
	SELECT RAISE(ABORT, 'fee rules are append-only');
END;

CREATE TRIGGER cards_fee_rules_frozen BEFORE UPDATE ON cards_fee_rules BEGIN
	SELECT RAISE(ABORT, 'a fee rule is frozen under its version');
END;

CREATE TRIGGER cards_loads_keep BEFORE DELETE ON cards_loads BEGIN
	SELECT RAISE(ABORT, 'loads are append-only');
END;

CREATE TRIGGER cards_batches_keep BEFORE DELETE ON cards_batches BEGIN
	SELECT RAISE(ABORT, 'batches are append-only');
END;

CREATE TRIGGER cards_batches_frozen BEFORE UPDATE ON cards_batches BEGIN
	SELECT RAISE(ABORT, 'a batch is frozen');
END;

CREATE TRIGGER cards_payments_keep BEFORE DELETE ON cards_payments BEGIN
	SELECT RAISE(ABORT, 'payments are append-only');
END;

CREATE TRIGGER cards_payments_frozen
BEFORE UPDATE OF mid, tno, cid, sno, lno, amount, balance, made, proof, macz, source, repeated, created ON cards_payments BEGIN
	SELECT RAISE(ABORT, 'what a card proved is frozen');
END;

CREATE TRIGGER cards_voids_keep BEFORE DELETE ON cards_voids BEGIN
	SELECT RAISE(ABORT, 'voids are append-only');
END;

CREATE TRIGGER cards_voids_frozen BEFORE UPDATE ON cards_voids BEGIN
	SELECT RAISE(ABORT, 'a void is frozen');
END;

CREATE TRIGGER cards_alarms_keep BEFORE DELETE ON cards_alarms BEGIN
	SELECT RAISE(ABORT, 'alarms are append-only');
END;
