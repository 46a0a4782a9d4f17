-- Who is signed in to the administration pages. Signing out deletes the row.
CREATE TABLE broker_sessions (
	id       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- SHA-256 of what the cookie holds, hexadecimal
	operator TEXT COLLATE "C" NOT NULL, -- name, or ''
	token    TEXT COLLATE "C" NOT NULL, -- a MAC by the operator's token: another token ends the session
	created  BIGINT  NOT NULL, -- seconds since 1970
	seen     BIGINT  NOT NULL -- seconds since 1970, to the minute
);

-- What the transfers of a day sum to, between groups of accounts. Day 0 is all
-- days together.
CREATE TABLE broker_sums (
	day    BIGINT  NOT NULL, -- UTC days since 1970
	debit  TEXT COLLATE "C" NOT NULL, -- group that gave, such as user:available
	credit TEXT COLLATE "C" NOT NULL, -- group that took
	amount BIGINT  NOT NULL, -- micros
	count  BIGINT  NOT NULL,
	PRIMARY KEY (day, debit, credit)
);

CREATE TABLE broker_vendor_sums (
	account  TEXT COLLATE "C" NOT NULL, -- of the ledger, such as vendor:ORIGIN:payable
	day      BIGINT  NOT NULL, -- UTC days since 1970
	redeemed BIGINT  NOT NULL, -- what came from users, micros
	count    BIGINT  NOT NULL, -- of those payments
	paid_out BIGINT  NOT NULL, -- what left the account, micros
	PRIMARY KEY (account, day)
);

-- One row: how far the transfers are summed.
CREATE TABLE broker_sums_progress (
	one     BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
	seq     BIGINT  NOT NULL, -- of the last transfer that is in the sums
	created BIGINT  NOT NULL -- of that transfer, microseconds since 1970
);

INSERT INTO broker_sums_progress (one, seq, created) VALUES (1, 0, 0);

-- What checks of the books found.
CREATE TABLE broker_checks (
	seq     BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	created BIGINT  NOT NULL, -- when it began, microseconds since 1970
	taken   BIGINT  NOT NULL, -- microseconds
	wrong   BIGINT  NOT NULL, -- how many things disagree
	detail  TEXT COLLATE "C" NOT NULL -- the first of them, a line each
);

CREATE INDEX broker_audit_created ON broker_audit (created);
CREATE INDEX broker_audit_action ON broker_audit (action, seq);
CREATE INDEX broker_frauds_created ON broker_frauds (created);
CREATE INDEX broker_frauds_account ON broker_frauds (account);
