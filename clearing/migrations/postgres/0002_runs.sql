-- Runs with a frozen cut-off, in place of the settlement_ tables of 0001, which
-- nothing writes any more but settlement_leases.

-- A version names one rule for ever.
CREATE TABLE clearing_fee_rules (
	version TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	rule    TEXT COLLATE "C" NOT NULL, -- canonical JSON
	created BIGINT NOT NULL -- microseconds since 1970
);

-- One row for each settlement run. What its plan says is never changed; the
-- state goes forward only: proposed, running (its lines are being done), closed
-- (every line is done and the trial balance taken), final (everything is
-- published). A proposed one is discarded when another takes its place.
CREATE TABLE clearing_runs (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('proposed', 'discarded', 'running', 'closed', 'final')),
	period_end   TEXT COLLATE "C" NOT NULL, -- a day, 2026-11-22
	currency     TEXT COLLATE "C" NOT NULL,
	cutoff       BIGINT NOT NULL, -- seq of the last transfer that is in it
	since        BIGINT NOT NULL, -- cutoff of the run before; 0: none
	fee_rule     TEXT COLLATE "C" NOT NULL REFERENCES clearing_fee_rules (version),
	policy       TEXT COLLATE "C" NOT NULL, -- canonical JSON: minimums, approval, the broker's own bank data
	fees_account TEXT COLLATE "C" NOT NULL,
	bank_account TEXT COLLATE "C" NOT NULL,
	plan_hash    TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256 of the plan's text, hexadecimal
	planned_by   TEXT COLLATE "C" NOT NULL, -- operator
	needs        BIGINT NOT NULL CHECK (needs IN (0, 1)), -- approval by another than planned_by
	started_by   TEXT COLLATE "C" NOT NULL DEFAULT '',
	planned      BIGINT NOT NULL, -- microseconds since 1970, as are the next
	started      BIGINT NOT NULL DEFAULT 0,
	closed       BIGINT NOT NULL DEFAULT 0,
	final        BIGINT NOT NULL DEFAULT 0,
	lines        BIGINT NOT NULL DEFAULT 0, -- what the plan sums to: its lines,
	waiting      BIGINT NOT NULL DEFAULT 0, -- positions that did not fit and wait for the next run,
	payments     BIGINT NOT NULL DEFAULT 0, -- lines that pay,
	paid         BIGINT NOT NULL DEFAULT 0, -- what they pay, micros,
	collections  BIGINT NOT NULL DEFAULT 0, -- lines that collect,
	collected    BIGINT NOT NULL DEFAULT 0, -- what they collect, micros,
	fees         BIGINT NOT NULL DEFAULT 0, -- micros,
	carried      BIGINT NOT NULL DEFAULT 0, -- what is owed to others and not paid, micros
	accounts     BIGINT NOT NULL DEFAULT 0, -- counted by the check before closing
	transfers    BIGINT NOT NULL DEFAULT 0,
	evidence_seq BIGINT NOT NULL DEFAULT 0 -- how far the evidence is collected
);

-- One run of a currency at a time.
CREATE UNIQUE INDEX clearing_runs_going ON clearing_runs (currency) WHERE state IN ('running', 'closed');
CREATE UNIQUE INDEX clearing_runs_proposed ON clearing_runs (currency) WHERE state = 'proposed';
CREATE INDEX clearing_runs_planned ON clearing_runs (planned);

CREATE TABLE clearing_lines (
	run_id      TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	number      BIGINT NOT NULL, -- 1 and up, in the order of kind and account
	kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('vendor', 'merchant', 'account-payout', 'collection')),
	party       TEXT COLLATE "C" NOT NULL, -- origin, merchant id, account; of an account-payout ACCOUNT/ID
	account     TEXT COLLATE "C" NOT NULL, -- of the ledger
	currency    TEXT COLLATE "C" NOT NULL,
	gross       BIGINT NOT NULL CHECK (gross > 0), -- position at the cut-off, micros; of a collection what is owed
	fee         BIGINT NOT NULL CHECK (fee >= 0),
	amount      BIGINT NOT NULL CHECK (amount >= 0), -- to be paid or collected
	destination TEXT COLLATE "C" NOT NULL, -- iban:, ach:, ref: or mandate: and the rest; '': none
	method      TEXT COLLATE "C" NOT NULL CHECK (method IN ('', 'credit-transfer', 'direct-debit', 'ach', 'list')),
	reason      TEXT COLLATE "C" NOT NULL, -- why nothing is moved; '' where something is
	outcome     TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (outcome IN ('', 'sent', 'carried')),
	note        TEXT COLLATE "C" NOT NULL DEFAULT '', -- why it was carried, where the plan had moved something
	done        BIGINT NOT NULL DEFAULT 0, -- microseconds since 1970
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, kind, party),
	CHECK (fee + amount <= gross),
	CHECK ((reason = '') = (amount > 0)),
	CHECK ((method = '') = (amount = 0))
);

CREATE INDEX clearing_lines_party ON clearing_lines (kind, party);

CREATE TABLE clearing_approvals (
	run_id   TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	operator TEXT COLLATE "C" NOT NULL,
	created  BIGINT NOT NULL, -- microseconds since 1970
	PRIMARY KEY (run_id, operator)
);

-- The trial balance when the run was closed, by class of account.
CREATE TABLE clearing_balances (
	run_id   TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	currency TEXT COLLATE "C" NOT NULL,
	class    TEXT COLLATE "C" NOT NULL, -- such as vendor:*:payable
	accounts BIGINT NOT NULL,
	balance  BIGINT NOT NULL, -- micros
	pending  BIGINT NOT NULL, -- of that on its way out, micros
	PRIMARY KEY (run_id, currency, class)
);

-- One order to the bank: out to somebody, or in from somebody's account. Where
-- it goes out, the ledger holds it pending as "settle/<end_to_end>" and its fee
-- as "settle/<end_to_end>/fee"; that of an account's payout is the broker's.
CREATE TABLE clearing_instructions (
	end_to_end  TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- 32 hexadecimal digits, the bank's end-to-end id
	run_id      TEXT COLLATE "C" NOT NULL REFERENCES clearing_runs (id),
	number      BIGINT NOT NULL, -- of the line
	direction   TEXT COLLATE "C" NOT NULL CHECK (direction IN ('out', 'in')),
	kind        TEXT COLLATE "C" NOT NULL, -- of the line, as are the next
	party       TEXT COLLATE "C" NOT NULL,
	account     TEXT COLLATE "C" NOT NULL,
	currency    TEXT COLLATE "C" NOT NULL,
	amount      BIGINT NOT NULL CHECK (amount > 0), -- micros
	fee         BIGINT NOT NULL CHECK (fee >= 0),
	destination TEXT COLLATE "C" NOT NULL,
	method      TEXT COLLATE "C" NOT NULL,
	state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('sent', 'booked', 'rejected', 'returned')),
	code        TEXT COLLATE "C" NOT NULL DEFAULT '', -- the bank's reason, such as AC04
	sent        BIGINT NOT NULL, -- microseconds since 1970, as are the next
	booked      BIGINT NOT NULL DEFAULT 0,
	ended       BIGINT NOT NULL DEFAULT 0, -- rejected or returned
	version     BIGINT NOT NULL DEFAULT 1,
	UNIQUE (run_id, number)
);

-- The owner of an account asks for a payout once, and it is sent once.
CREATE UNIQUE INDEX clearing_instructions_payout ON clearing_instructions (party) WHERE kind = 'account-payout';
CREATE INDEX clearing_instructions_open ON clearing_instructions (sent) WHERE state = 'sent';
CREATE INDEX clearing_instructions_party ON clearing_instructions (kind, party, sent);

CREATE FUNCTION clearing_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% are append-only, and what they say is frozen', TG_TABLE_NAME;
END $$;

CREATE TRIGGER clearing_fee_rules_keep BEFORE DELETE OR TRUNCATE ON clearing_fee_rules
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_fee_rules_frozen BEFORE UPDATE ON clearing_fee_rules
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_runs_keep BEFORE DELETE OR TRUNCATE ON clearing_runs
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_runs_frozen BEFORE UPDATE OF id, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account,
	plan_hash, planned_by, needs, planned, lines, waiting, payments, paid, collections, collected, fees, carried ON clearing_runs
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_lines_keep BEFORE DELETE OR TRUNCATE ON clearing_lines
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_lines_frozen BEFORE UPDATE OF run_id, number, kind, party, account, currency, gross, fee, amount, destination, method, reason ON clearing_lines
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_approvals_keep BEFORE DELETE OR TRUNCATE ON clearing_approvals
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_instructions_keep BEFORE DELETE OR TRUNCATE ON clearing_instructions
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_instructions_frozen BEFORE UPDATE OF end_to_end, run_id, number, direction, kind, party, account, currency, amount, fee, destination, method, sent ON clearing_instructions
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();
