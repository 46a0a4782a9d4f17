-- Runs with a frozen cut-off, in place of the settlement_ tables of 0001, which
-- nothing writes any more but settlement_leases.

-- A version names one rule for ever.
CREATE TABLE clearing_fee_rules (
	version TEXT    NOT NULL PRIMARY KEY,
	rule    TEXT    NOT NULL, -- canonical JSON
	created INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- One row for each settlement run. What its plan says is never changed; the
-- state goes forward only: proposed, running (its lines are being done), closed
-- (every line is done and the trial balance taken), final (everything is
-- published). A proposed one is discarded when another takes its place.
CREATE TABLE clearing_runs (
	id           TEXT    NOT NULL PRIMARY KEY,
	state        TEXT    NOT NULL CHECK (state IN ('proposed', 'discarded', 'running', 'closed', 'final')),
	period_end   TEXT    NOT NULL, -- a day, 2026-11-22
	currency     TEXT    NOT NULL,
	cutoff       INTEGER NOT NULL, -- seq of the last transfer that is in it
	since        INTEGER NOT NULL, -- cutoff of the run before; 0: none
	fee_rule     TEXT    NOT NULL REFERENCES clearing_fee_rules (version),
	policy       TEXT    NOT NULL, -- canonical JSON: minimums, approval, the broker's own bank data
	fees_account TEXT    NOT NULL,
	bank_account TEXT    NOT NULL,
	plan_hash    TEXT    NOT NULL UNIQUE, -- SHA-256 of the plan's text, hexadecimal
	planned_by   TEXT    NOT NULL, -- operator
	needs        INTEGER NOT NULL CHECK (needs IN (0, 1)), -- approval by another than planned_by
	started_by   TEXT    NOT NULL DEFAULT '',
	planned      INTEGER NOT NULL, -- microseconds since 1970, as are the next
	started      INTEGER NOT NULL DEFAULT 0,
	closed       INTEGER NOT NULL DEFAULT 0,
	final        INTEGER NOT NULL DEFAULT 0,
	lines        INTEGER NOT NULL DEFAULT 0, -- what the plan sums to: its lines,
	waiting      INTEGER NOT NULL DEFAULT 0, -- positions that did not fit and wait for the next run,
	payments     INTEGER NOT NULL DEFAULT 0, -- lines that pay,
	paid         INTEGER NOT NULL DEFAULT 0, -- what they pay, micros,
	collections  INTEGER NOT NULL DEFAULT 0, -- lines that collect,
	collected    INTEGER NOT NULL DEFAULT 0, -- what they collect, micros,
	fees         INTEGER NOT NULL DEFAULT 0, -- micros,
	carried      INTEGER NOT NULL DEFAULT 0, -- what is owed to others and not paid, micros
	accounts     INTEGER NOT NULL DEFAULT 0, -- counted by the check before closing
	transfers    INTEGER NOT NULL DEFAULT 0,
	evidence_seq INTEGER NOT NULL DEFAULT 0 -- how far the evidence is collected
) STRICT;

-- One run of a currency at a time.
CREATE UNIQUE INDEX clearing_runs_going ON clearing_runs (currency) WHERE state IN ('running', 'closed');
CREATE UNIQUE INDEX clearing_runs_proposed ON clearing_runs (currency) WHERE state = 'proposed';
CREATE INDEX clearing_runs_planned ON clearing_runs (planned);

CREATE TABLE clearing_lines (
	run_id      TEXT    NOT NULL REFERENCES clearing_runs (id),
	number      INTEGER NOT NULL, -- 1 and up, in the order of kind and account
	kind        TEXT    NOT NULL CHECK (kind IN ('vendor', 'merchant', 'account-payout', 'collection')),
	party       TEXT    NOT NULL, -- origin, merchant id, account; of an account-payout ACCOUNT/ID
	account     TEXT    NOT NULL, -- of the ledger
	currency    TEXT    NOT NULL,
	gross       INTEGER NOT NULL CHECK (gross > 0), -- position at the cut-off, micros; of a collection what is owed
	fee         INTEGER NOT NULL CHECK (fee >= 0),
	amount      INTEGER NOT NULL CHECK (amount >= 0), -- to be paid or collected
	destination TEXT    NOT NULL, -- iban:, ach:, ref: or mandate: and the rest; '': none
	method      TEXT    NOT NULL CHECK (method IN ('', 'credit-transfer', 'direct-debit', 'ach', 'list')),
	reason      TEXT    NOT NULL, -- why nothing is moved; '' where something is
	outcome     TEXT    NOT NULL DEFAULT '' CHECK (outcome IN ('', 'sent', 'carried')),
	note        TEXT    NOT NULL DEFAULT '', -- why it was carried, where the plan had moved something
	done        INTEGER NOT NULL DEFAULT 0, -- microseconds since 1970
	PRIMARY KEY (run_id, number),
	UNIQUE (run_id, kind, party),
	CHECK (fee + amount <= gross),
	CHECK ((reason = '') = (amount > 0)),
	CHECK ((method = '') = (amount = 0))
) STRICT;

CREATE INDEX clearing_lines_party ON clearing_lines (kind, party);

CREATE TABLE clearing_approvals (
	run_id   TEXT    NOT NULL REFERENCES clearing_runs (id),
	operator TEXT    NOT NULL,
	created  INTEGER NOT NULL, -- microseconds since 1970
	PRIMARY KEY (run_id, operator)
) STRICT;

-- The trial balance when the run was closed, by class of account.
CREATE TABLE clearing_balances (
	run_id   TEXT    NOT NULL REFERENCES clearing_runs (id),
	currency TEXT    NOT NULL,
	class    TEXT    NOT NULL, -- such as vendor:*:payable
	accounts INTEGER NOT NULL,
	balance  INTEGER NOT NULL, -- micros
	pending  INTEGER NOT NULL, -- of that on its way out, micros
	PRIMARY KEY (run_id, currency, class)
) STRICT;

-- One order to the bank: out to somebody, or in from somebody's account. Where
-- it goes out, the ledger holds it pending as "settle/<end_to_end>" and its fee
-- as "settle/<end_to_end>/fee"; that of an account's payout is the broker's.
CREATE TABLE clearing_instructions (
	end_to_end  TEXT    NOT NULL PRIMARY KEY, -- 32 hexadecimal digits, the bank's end-to-end id
	run_id      TEXT    NOT NULL REFERENCES clearing_runs (id),
	number      INTEGER NOT NULL, -- of the line
	direction   TEXT    NOT NULL CHECK (direction IN ('out', 'in')),
	kind        TEXT    NOT NULL, -- of the line, as are the next
	party       TEXT    NOT NULL,
	account     TEXT    NOT NULL,
	currency    TEXT    NOT NULL,
	amount      INTEGER NOT NULL CHECK (amount > 0), -- micros
	fee         INTEGER NOT NULL CHECK (fee >= 0),
	destination TEXT    NOT NULL,
	method      TEXT    NOT NULL,
	state       TEXT    NOT NULL CHECK (state IN ('sent', 'booked', 'rejected', 'returned')),
	code        TEXT    NOT NULL DEFAULT '', -- the bank's reason, such as AC04
	sent        INTEGER NOT NULL, -- microseconds since 1970, as are the next
	booked      INTEGER NOT NULL DEFAULT 0,
	ended       INTEGER NOT NULL DEFAULT 0, -- rejected or returned
	version     INTEGER NOT NULL DEFAULT 1,
	UNIQUE (run_id, number)
) STRICT;

-- The owner of an account asks for a payout once, and it is sent once.
CREATE UNIQUE INDEX clearing_instructions_payout ON clearing_instructions (party) WHERE kind = 'account-payout';
CREATE INDEX clearing_instructions_open ON clearing_instructions (sent) WHERE state = 'sent';
CREATE INDEX clearing_instructions_party ON clearing_instructions (kind, party, sent);

CREATE TRIGGER clearing_fee_rules_keep BEFORE DELETE ON clearing_fee_rules BEGIN
	SELECT RAISE(ABORT, 'fee rules are append-only');
END;

CREATE TRIGGER clearing_fee_rules_frozen BEFORE UPDATE ON clearing_fee_rules BEGIN
	SELECT RAISE(ABORT, 'a fee rule is frozen under its version');
END;

CREATE TRIGGER clearing_runs_keep BEFORE DELETE ON clearing_runs BEGIN
	SELECT RAISE(ABORT, 'settlement runs are append-only');
END;

CREATE TRIGGER clearing_runs_frozen
BEFORE UPDATE OF id, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account,
	plan_hash, planned_by, needs, planned, lines, waiting, payments, paid, collections, collected, fees, carried
	ON clearing_runs BEGIN
	SELECT RAISE(ABORT, 'the plan of a run is frozen');
END;

CREATE TRIGGER clearing_lines_keep BEFORE DELETE ON clearing_lines BEGIN
	SELECT RAISE(ABORT, 'settlement lines are append-only');
END;

CREATE TRIGGER clearing_lines_frozen
BEFORE UPDATE OF run_id, number, kind, party, account, currency, gross, fee, amount, destination, method, reason
	ON clearing_lines BEGIN
	SELECT RAISE(ABORT, 'the lines of a plan are frozen');
END;

CREATE TRIGGER clearing_approvals_keep BEFORE DELETE ON clearing_approvals BEGIN
	SELECT RAISE(ABORT, 'approvals are append-only');
END;

CREATE TRIGGER clearing_instructions_keep BEFORE DELETE ON clearing_instructions BEGIN
	SELECT RAISE(ABORT, 'instructions are append-only');
END;

CREATE TRIGGER clearing_instructions_frozen
BEFORE UPDATE OF end_to_end, run_id, number, direction, kind, party, account, currency, amount, fee, destination, method, sent
	ON clearing_instructions BEGIN
	SELECT RAISE(ABORT, 'what the bank was told is frozen');
END;
