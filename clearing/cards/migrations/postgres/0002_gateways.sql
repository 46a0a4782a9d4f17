-- Which gateway of the broker has the money of a payment; '': the merchant has,
-- or nobody yet.
ALTER TABLE cards_payments ADD COLUMN gateway TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Payments of white cards whose money a gateway has paid out in cash.
CREATE TABLE cards_cash (
	mid     TEXT COLLATE "C"    NOT NULL,
	tno     BIGINT NOT NULL,
	gateway TEXT COLLATE "C"    NOT NULL, -- that had the money, and paid it out
	amount  BIGINT NOT NULL CHECK (amount > 0),
	created BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno),
	FOREIGN KEY (mid, tno) REFERENCES cards_payments (mid, tno)
);

-- What a gateway took in cash today.
CREATE INDEX cards_loads_account ON cards_loads (account, created);

CREATE TRIGGER cards_cash_keep BEFORE DELETE OR TRUNCATE ON cards_cash
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_cash_frozen BEFORE UPDATE ON cards_cash
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();
