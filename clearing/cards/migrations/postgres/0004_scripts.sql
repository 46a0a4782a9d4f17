-- What the issuer wants of a card, numbered from 1 on for each. A card does those
-- with a higher number than its last one.
CREATE TABLE cards_scripts (
	cid      TEXT COLLATE "C" NOT NULL REFERENCES cards_cards (cid),
	count    BIGINT NOT NULL CHECK (count > 0), -- CNT
	kind     BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 4), -- P1: block, unblock, limits, new PIN
	command  BYTEA NOT NULL, -- SCRIPT, whole; a PIN in it is encrypted
	state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'done', 'passed')), -- passed: a later one was done
	answer   BYTEA NOT NULL, -- 20 bytes; none until the card has answered
	operator TEXT COLLATE "C" NOT NULL, -- '': clearing by itself, about a card that was reported
	created  BIGINT NOT NULL, -- microseconds since 1970, as is the next
	ended    BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (cid, count)
);

CREATE INDEX cards_scripts_waiting ON cards_scripts (cid, count) WHERE state = 'waiting';

CREATE TRIGGER cards_scripts_keep BEFORE DELETE OR TRUNCATE ON cards_scripts
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();

CREATE TRIGGER cards_scripts_frozen BEFORE UPDATE OF cid, count, kind, command, operator, created ON cards_scripts
	FOR EACH STATEMENT EXECUTE FUNCTION cards_keep();
