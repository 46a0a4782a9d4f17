-- What cards said of cancellations whose batch is still to come. It decides them
-- when it comes.
CREATE TABLE cards_early_claims (
	mid     TEXT    NOT NULL REFERENCES cards_merchants (mid),
	tno     INTEGER NOT NULL, -- of the cancellation
	cid     TEXT    NOT NULL,
	proof   BLOB    NOT NULL, -- 61 bytes
	macz    BLOB    NOT NULL, -- 16 bytes
	created INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno, cid)
) STRICT;

CREATE TRIGGER cards_early_claims_keep BEFORE DELETE ON cards_early_claims BEGIN
	SELECT RAISE(ABORT, 'claims are append-only');
END;

CREATE TRIGGER cards_early_claims_frozen BEFORE UPDATE ON cards_early_claims BEGIN
	SELECT RAISE(ABORT, 'what a card said is frozen');
END;
