-- One row for each settlement run. What the plan says is never changed; the
-- state goes forward only: planned, closed (every line is done and the trial
-- balance taken), final (the files are written).
CREATE TABLE settlement_runs (
	id           TEXT    NOT NULL PRIMARY KEY,
	state        TEXT    NOT NULL CHECK (state IN ('planned', 'closed', 'final')),
	period_end   TEXT    NOT NULL, -- a day, 2026-11-22
	currency     TEXT    NOT NULL,
	fee_rule     TEXT    NOT NULL, -- version of the fee schedule
	numerator    INTEGER NOT NULL,
	denominator  INTEGER NOT NULL,
	minimum      INTEGER NOT NULL, -- micros
	fees_account TEXT    NOT NULL,
	bank_account TEXT    NOT NULL,
	plan_hash    TEXT    NOT NULL, -- SHA-256 of the plan's text, hexadecimal
	planned      INTEGER NOT NULL, -- microseconds since 1970
	closed       INTEGER NOT NULL DEFAULT 0,
	final        INTEGER NOT NULL DEFAULT 0,
	accounts     INTEGER NOT NULL DEFAULT 0, -- counted by the check before closing
	transfers    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE settlement_lines (
	run_id   TEXT    NOT NULL REFERENCES settlement_runs (id),
	number   INTEGER NOT NULL,
	account  TEXT    NOT NULL,
	currency TEXT    NOT NULL,
	gross    INTEGER NOT NULL CHECK (gross > 0), -- payable when the plan was made, micros
	fee      INTEGER NOT NULL CHECK (fee >= 0),
	payout   INTEGER NOT NULL CHECK (payout >= 0),
	reason   TEXT    NOT NULL, -- why the plan pays nothing; '' where it pays
	outcome  TEXT    NOT NULL DEFAULT '' CHECK (outcome IN ('', 'paid', 'carried')),
	done     INTEGER NOT NULL DEFAULT 0, -- microseconds since 1970
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, account),
	CHECK (fee + payout <= gross),
	CHECK ((reason = '') = (payout > 0))
) STRICT;

-- The trial balance when the run was closed, by class of account.
CREATE TABLE settlement_balances (
	run_id   TEXT    NOT NULL REFERENCES settlement_runs (id),
	currency TEXT    NOT NULL,
	class    TEXT    NOT NULL, -- such as vendor:*:payable
	accounts INTEGER NOT NULL,
	balance  INTEGER NOT NULL, -- micros
	PRIMARY KEY (run_id, currency, class)
) STRICT;

-- At most one row: whoever runs the settlement now.
CREATE TABLE settlement_leases (
	name   TEXT    NOT NULL PRIMARY KEY CHECK (name = 'settlement'),
	token  TEXT    NOT NULL,
	holder TEXT    NOT NULL,
	until  INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE TRIGGER settlement_runs_keep BEFORE DELETE ON settlement_runs BEGIN
	SELECT RAISE(ABORT, 'settlement runs are append-only');
END;

CREATE TRIGGER settlement_runs_frozen
BEFORE UPDATE OF id, period_end, currency, fee_rule, numerator, denominator, minimum,
	fees_account, bank_account, plan_hash, planned ON settlement_runs BEGIN
	SELECT RAISE(ABORT, 'the plan of a run is frozen');
END;

CREATE TRIGGER settlement_lines_keep BEFORE DELETE ON settlement_lines BEGIN
	SELECT RAISE(ABORT, 'settlement lines are append-only');
END;

CREATE TRIGGER settlement_lines_frozen
BEFORE UPDATE OF run_id, number, account, currency, gross, fee, payout, reason ON settlement_lines BEGIN
	SELECT RAISE(ABORT, 'the lines of a plan are frozen');
END;
