-- A payment that the card took back, in the same batch. The payment stays as it
-- was; this says what of it went back.
CREATE TABLE cards_cancellations (
	mid      TEXT    NOT NULL REFERENCES cards_merchants (mid),
	tno      INTEGER NOT NULL, -- of the cancellation
	paid_tno INTEGER NOT NULL, -- of the payment
	bno      INTEGER NOT NULL, -- of the batch that has both
	cid      TEXT    NOT NULL REFERENCES cards_cards (cid),
	sno      INTEGER NOT NULL, -- of the cancellation: the one after the payment's
	amount   INTEGER NOT NULL CHECK (amount > 0),
	fee      INTEGER NOT NULL CHECK (fee >= 0 AND fee <= amount), -- of the payment, given back to the merchant
	is_void  INTEGER NOT NULL CHECK (is_void IN (0, 1)), -- 1: the SAM did not know whether the card did it
	state    TEXT    NOT NULL CHECK (state IN ('done', 'open', 'denied')), -- open: nobody knows yet; denied: the card did not do it
	evidence TEXT    NOT NULL DEFAULT '' CHECK (evidence IN ('', 'record', 'claim', 'payment', 'operator')), -- what decided it
	operator TEXT    NOT NULL DEFAULT '',
	lno      INTEGER NOT NULL DEFAULT 0, -- this and the next four are the card's; 0 and none until it has said so
	balance  INTEGER NOT NULL DEFAULT 0, -- on the card after it
	made     INTEGER NOT NULL, -- seconds since 1970, by the merchant
	proof    BLOB    NOT NULL, -- 61 bytes
	macz     BLOB    NOT NULL, -- 16 bytes
	repeated INTEGER NOT NULL DEFAULT 0 CHECK (repeated IN (0, 1)), -- the card used its SNo before
	created  INTEGER NOT NULL, -- microseconds since 1970, as is the next
	ended    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (mid, tno),
	UNIQUE (mid, paid_tno),
	FOREIGN KEY (mid, paid_tno) REFERENCES cards_payments (mid, tno)
) STRICT;

CREATE INDEX cards_cancellations_number ON cards_cancellations (cid, sno);
CREATE INDEX cards_cancellations_open ON cards_cancellations (created) WHERE state = 'open';

-- How many of a batch's records are cancellations, and what they took back, also
-- of what was booked before the batch.
ALTER TABLE cards_batches ADD COLUMN cancellations INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cards_batches ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER cards_cancellations_keep BEFORE DELETE ON cards_cancellations BEGIN
	SELECT RAISE(ABORT, 'cancellations are append-only');
END;

CREATE TRIGGER cards_cancellations_frozen
BEFORE UPDATE OF mid, tno, paid_tno, bno, cid, sno, amount, fee, is_void, created ON cards_cancellations BEGIN
	SELECT RAISE(ABORT, 'what a SAM recorded is frozen');
END;
