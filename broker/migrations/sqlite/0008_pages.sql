-- Who is signed in to the administration pages. Signing out deletes the row.
CREATE TABLE broker_sessions (
	id       TEXT    NOT NULL PRIMARY KEY, -- SHA-256 of what the cookie holds, hexadecimal
	operator TEXT    NOT NULL, -- name, or ''
	token    TEXT    NOT NULL, -- a MAC by the operator's token: another token ends the session
	created  INTEGER NOT NULL, -- seconds since 1970
	seen     INTEGER NOT NULL -- seconds since 1970, to the minute
) STRICT;

-- What the transfers of a day sum to, between groups of accounts. Day 0 is all
-- days together.
CREATE TABLE broker_sums (
	day    INTEGER NOT NULL, -- UTC days since 1970
	debit  TEXT    NOT NULL, -- group that gave, such as user:available
	credit TEXT    NOT NULL, -- group that took
	amount INTEGER NOT NULL, -- micros
	count  INTEGER NOT NULL,
	PRIMARY KEY (day, debit, credit)
) STRICT;

CREATE TABLE broker_vendor_sums (
	account  TEXT    NOT NULL, -- of the ledger, such as vendor:ORIGIN:payable
	day      INTEGER NOT NULL, -- UTC days since 1970
	redeemed INTEGER NOT NULL, -- what came from users, micros
	count    INTEGER NOT NULL, -- of those payments
	paid_out INTEGER NOT NULL, -- what left the account, micros
	PRIMARY KEY (account, day)
) STRICT;

-- One row: how far the transfers are summed.
CREATE TABLE broker_sums_progress (
	one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	seq     INTEGER NOT NULL, -- of the last transfer that is in the sums
	created INTEGER NOT NULL -- of that transfer, microseconds since 1970
) STRICT;

INSERT INTO broker_sums_progress (one, seq, created) VALUES (1, 0, 0);

-- What checks of the books found.
CREATE TABLE broker_checks (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	created INTEGER NOT NULL, -- when it began, microseconds since 1970
	taken   INTEGER NOT NULL, -- microseconds
	wrong   INTEGER NOT NULL, -- how many things disagree
	detail  TEXT    NOT NULL -- the first of them, a line each
) STRICT;

CREATE INDEX broker_audit_created ON broker_audit (created);
CREATE INDEX broker_audit_action ON broker_audit (action, seq);
CREATE INDEX broker_frauds_created ON broker_frauds (created);
CREATE INDEX broker_frauds_account ON broker_frauds (account);
