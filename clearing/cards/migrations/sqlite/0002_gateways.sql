-- Which gateway of the broker has the money of a payment; '': the merchant has,
-- or nobody yet.
ALTER TABLE cards_payments ADD COLUMN gateway TEXT NOT NULL DEFAULT '';

-- Payments of white cards whose money a gateway has paid out in cash.
CREATE TABLE cards_cash (
	mid     TEXT    NOT NULL,
	tno     INTEGER NOT NULL,
	gateway TEXT    NOT NULL, -- that had the money, and paid it out
	amount  INTEGER NOT NULL CHECK (amount > 0),
	created INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno),
	FOREIGN KEY (mid, tno) REFERENCES cards_payments (mid, tno)
) STRICT;

-- What a gateway took in cash today.
CREATE INDEX cards_loads_account ON cards_loads (account, created);

CREATE TRIGGER cards_cash_keep BEFORE DELETE ON cards_cash BEGIN
	SELECT RAISE(ABORT, 'cash that was paid out is append-only');
END;

CREATE TRIGGER cards_cash_frozen BEFORE UPDATE ON cards_cash BEGIN
	SELECT RAISE(ABORT, 'cash that was paid out is frozen');
END;
