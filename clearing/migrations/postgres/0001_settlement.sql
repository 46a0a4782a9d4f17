-- One row for each settlement run. What the plan says is never changed; the
-- state goes forward only: planned, closed (every line is done and the trial
-- balance taken), final (the files are written).
CREATE TABLE settlement_runs (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('planned', 'closed', 'final')),
	period_end   TEXT COLLATE "C" NOT NULL, -- a day, 2026-11-22
	currency     TEXT COLLATE "C" NOT NULL,
	fee_rule     TEXT COLLATE "C" NOT NULL, -- version of the fee schedule
	numerator    BIGINT NOT NULL,
	denominator  BIGINT NOT NULL,
	minimum      BIGINT NOT NULL, -- micros
	fees_account TEXT COLLATE "C" NOT NULL,
	bank_account TEXT COLLATE "C" NOT NULL,
	plan_hash    TEXT COLLATE "C" NOT NULL, -- SHA-256 of the plan's text, hexadecimal
	planned      BIGINT NOT NULL, -- microseconds since 1970
	closed       BIGINT NOT NULL DEFAULT 0,
	final        BIGINT NOT NULL DEFAULT 0,
	accounts     BIGINT NOT NULL DEFAULT 0, -- counted by the check before closing
	transfers    BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE settlement_lines (
	run_id   TEXT COLLATE "C" NOT NULL REFERENCES settlement_runs (id),
	number   BIGINT NOT NULL,
	account  TEXT COLLATE "C" NOT NULL,
	currency TEXT COLLATE "C" NOT NULL,
	gross    BIGINT NOT NULL CHECK (gross > 0), -- payable when the plan was made, micros
	fee      BIGINT NOT NULL CHECK (fee >= 0),
	payout   BIGINT NOT NULL CHECK (payout >= 0),
	reason   TEXT COLLATE "C" NOT NULL, -- why the plan pays nothing; '' where it pays
	outcome  TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (outcome IN ('', 'paid', 'carried')),
	done     BIGINT NOT NULL DEFAULT 0, -- microseconds since 1970
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, account),
	CHECK (fee + payout <= gross),
	CHECK ((reason = '') = (payout > 0))
);

-- The trial balance when the run was closed, by class of account.
CREATE TABLE settlement_balances (
	run_id   TEXT COLLATE "C" NOT NULL REFERENCES settlement_runs (id),
	currency TEXT COLLATE "C" NOT NULL,
	class    TEXT COLLATE "C" NOT NULL, -- such as vendor:*:payable
	accounts BIGINT NOT NULL,
	balance  BIGINT NOT NULL, -- micros
	PRIMARY KEY (run_id, currency, class)
);

-- At most one row: whoever runs the settlement now.
CREATE TABLE settlement_leases (
	name   TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (name = 'settlement'),
	token  TEXT COLLATE "C" NOT NULL,
	holder TEXT COLLATE "C" NOT NULL,
	until  BIGINT NOT NULL -- microseconds since 1970
);

CREATE FUNCTION settlement_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% are append-only, and their plan is frozen', TG_TABLE_NAME;
END $$;

CREATE TRIGGER settlement_runs_keep BEFORE DELETE OR TRUNCATE ON settlement_runs
	FOR EACH STATEMENT EXECUTE FUNCTION settlement_keep();
CREATE TRIGGER settlement_runs_frozen
BEFORE UPDATE OF id, period_end, currency, fee_rule, numerator, denominator, minimum,
	fees_account, bank_account, plan_hash, planned ON settlement_runs
	FOR EACH STATEMENT EXECUTE FUNCTION settlement_keep();
CREATE TRIGGER settlement_lines_keep BEFORE DELETE OR TRUNCATE ON settlement_lines
	FOR EACH STATEMENT EXECUTE FUNCTION settlement_keep();
CREATE TRIGGER settlement_lines_frozen
BEFORE UPDATE OF run_id, number, account, currency, gross, fee, payout, reason ON settlement_lines
	FOR EACH STATEMENT EXECUTE FUNCTION settlement_keep();
