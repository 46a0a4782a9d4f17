-- What cards said of cancellations whose batch is still to come. It decides them
-- when it comes.
CREATE TABLE cards_early_claims (
	mid     TEXT COLLATE "C" NOT NULL REFERENCES cards_merchants (mid),
	tno     BIGINT NOT NULL, -- of the cancellation
	cid     TEXT COLLATE "C" NOT NULL,
	proof   BYTEA NOT NULL, -- 61 bytes
	macz    BYTEA NOT NULL, -- 16 bytes
	created BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (mid, tno, cid)
);

CREATE TRIGGER cards_early_claims_keep BEFORE DELETE OR TRUNCATE ON cards_early_claims
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_early_claims_frozen BEFORE UPDATE ON cards_early_claims
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();
