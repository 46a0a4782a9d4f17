-- Devices, states, sub-accounts, limits, vouchers and payouts of accounts.
-- Everything is added, so that a broker of the version before goes on running.

ALTER TABLE broker_accounts ADD COLUMN state TEXT COLLATE "C" NOT NULL DEFAULT 'open'
	CHECK (state IN ('open', 'blocked', 'closing', 'closed'));
ALTER TABLE broker_accounts ADD COLUMN parent TEXT COLLATE "C" NOT NULL DEFAULT ''; -- account; '': it is no sub-account
ALTER TABLE broker_accounts ADD COLUMN name TEXT COLLATE "C" NOT NULL DEFAULT ''; -- of a sub-account, by its parent
ALTER TABLE broker_accounts ADD COLUMN paused BIGINT NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)); -- by its parent
ALTER TABLE broker_accounts ADD COLUMN holder TEXT COLLATE "C" NOT NULL DEFAULT ''; -- in the operator's own records; '': a white account

CREATE INDEX broker_accounts_parent ON broker_accounts (parent, id) WHERE parent <> '';
CREATE INDEX broker_accounts_closing ON broker_accounts (id) WHERE state = 'closing';

-- The most that a white account may hold, micros.
ALTER TABLE broker_settings ADD COLUMN white_ceiling BIGINT NOT NULL DEFAULT 150000000;

-- The keys that speak for an account. A removed one stays, so that it never
-- speaks for anybody again.
CREATE TABLE broker_devices (
	key_id  TEXT COLLATE "C"    NOT NULL PRIMARY KEY, -- RFC 7638 thumbprint
	account TEXT COLLATE "C"    NOT NULL REFERENCES broker_accounts (id),
	key     BYTEA   NOT NULL, -- Ed25519, 32 bytes
	name    TEXT COLLATE "C"    NOT NULL, -- that the owner chose
	created BIGINT NOT NULL, -- microseconds since 1970
	removed BIGINT NOT NULL DEFAULT 0 -- microseconds since 1970; 0: it speaks for the account
);

CREATE INDEX broker_devices_account ON broker_devices (account, created);

INSERT INTO broker_devices (key_id, account, key, name, created)
	SELECT key_id, id, key, 'first', created FROM broker_accounts;

-- Whoever opens an account, the version before too, makes its first device.
CREATE FUNCTION broker_devices_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO broker_devices (key_id, account, key, name, created)
		VALUES (NEW.key_id, NEW.id, NEW.key, 'first', NEW.created);
	RETURN NULL;
END $$;

CREATE TRIGGER broker_devices_first AFTER INSERT ON broker_accounts
	FOR EACH ROW EXECUTE FUNCTION broker_devices_first();

-- How much an account may spend. Whatever is NULL has no limit.
CREATE TABLE broker_limits (
	account    TEXT COLLATE "C" NOT NULL REFERENCES broker_accounts (id),
	setter     TEXT COLLATE "C" NOT NULL CHECK (setter IN ('owner', 'broker')), -- the owner of a sub-account is its parent
	vendor_day BIGINT CHECK (vendor_day >= 0), -- for one vendor in a UTC day, micros
	day        BIGINT CHECK (day >= 0), -- for all vendors in a UTC day, micros
	reserved   BIGINT CHECK (reserved >= 0), -- at once, micros
	PRIMARY KEY (account, setter)
);

CREATE INDEX broker_commitments_account_day ON broker_commitments (account, day);

-- Bearer codes worth money, by their hash alone.
CREATE TABLE broker_voucher_batches (
	id      TEXT COLLATE "C"    NOT NULL PRIMARY KEY, -- that the operator chose
	count   BIGINT NOT NULL,
	amount  BIGINT NOT NULL, -- of each, micros
	expires BIGINT NOT NULL, -- seconds since 1970
	created BIGINT NOT NULL -- microseconds since 1970
);

CREATE TABLE broker_vouchers (
	id      TEXT COLLATE "C"    NOT NULL PRIMARY KEY, -- SHA-256 of the code, hexadecimal
	batch   TEXT COLLATE "C"    NOT NULL REFERENCES broker_voucher_batches (id),
	amount  BIGINT NOT NULL CHECK (amount > 0), -- micros
	expires BIGINT NOT NULL, -- seconds since 1970
	state   TEXT COLLATE "C"    NOT NULL CHECK (state IN ('open', 'redeemed', 'expired', 'cancelled')),
	account TEXT COLLATE "C"    NOT NULL DEFAULT '', -- that redeemed it
	ended   BIGINT NOT NULL DEFAULT 0 -- microseconds since 1970; 0: it is open
);

CREATE INDEX broker_vouchers_batch ON broker_vouchers (batch, state);
CREATE INDEX broker_vouchers_account ON broker_vouchers (account, ended) WHERE account <> '';
CREATE INDEX broker_vouchers_due ON broker_vouchers (expires) WHERE state = 'open';

-- Money on its way out. The ledger holds it as a pending transfer with the id
-- "account-payout/<account>/<id>", which "…/paid" or "…/refused" ends.
CREATE TABLE broker_payouts (
	seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account     TEXT COLLATE "C"    NOT NULL REFERENCES broker_accounts (id),
	id          TEXT COLLATE "C"    NOT NULL, -- that the owner chose
	amount      BIGINT NOT NULL CHECK (amount > 0), -- micros
	kind        TEXT COLLATE "C"    NOT NULL CHECK (kind IN ('iban', 'reference')),
	destination TEXT COLLATE "C"    NOT NULL, -- an IBAN without spaces, or a text
	closing     BIGINT NOT NULL CHECK (closing IN (0, 1)), -- it is the rest of an account that closes
	state       TEXT COLLATE "C"    NOT NULL CHECK (state IN ('pending', 'paid', 'refused')),
	note        TEXT COLLATE "C"    NOT NULL DEFAULT '', -- the operator's: how it was paid, or why not
	created     BIGINT NOT NULL, -- microseconds since 1970
	ended       BIGINT NOT NULL DEFAULT 0, -- microseconds since 1970; 0: it is pending
	UNIQUE (account, id)
);

CREATE INDEX broker_payouts_pending ON broker_payouts (seq) WHERE state = 'pending';

-- Accounts whose owner asked to close them, and where the rest goes.
CREATE TABLE broker_closings (
	account     TEXT COLLATE "C"    NOT NULL PRIMARY KEY REFERENCES broker_accounts (id),
	kind        TEXT COLLATE "C"    NOT NULL CHECK (kind IN ('', 'iban', 'reference')), -- '': to its parent, or there was nothing
	destination TEXT COLLATE "C"    NOT NULL,
	created     BIGINT NOT NULL -- microseconds since 1970
);
