-- What a vendor says of itself, and what the administration says of it.
ALTER TABLE broker_vendors ADD COLUMN state TEXT COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'blocked'));
ALTER TABLE broker_vendors ADD COLUMN contact TEXT COLLATE "C" NOT NULL DEFAULT ''; -- for people: an address for letters or mail
ALTER TABLE broker_vendors ADD COLUMN destination TEXT COLLATE "C" NOT NULL DEFAULT ''; -- where payouts go, or ''
ALTER TABLE broker_vendors ADD COLUMN next_destination TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the one that waits, or ''
ALTER TABLE broker_vendors ADD COLUMN next_key TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the key that asked for it
ALTER TABLE broker_vendors ADD COLUMN next_from BIGINT NOT NULL DEFAULT 0; -- when it counts, seconds since 1970
ALTER TABLE broker_vendors ADD COLUMN pull BIGINT NOT NULL DEFAULT 0 CHECK (pull IN (0, 1)); -- its claims are fetched
ALTER TABLE broker_vendors ADD COLUMN pull_due BIGINT NOT NULL DEFAULT 0; -- not before, microseconds since 1970
ALTER TABLE broker_vendors ADD COLUMN pull_failures BIGINT NOT NULL DEFAULT 0; -- in a row

CREATE INDEX broker_vendors_next ON broker_vendors (next_from) WHERE next_from > 0;
CREATE INDEX broker_vendors_pull ON broker_vendors (pull_due) WHERE pull = 1;

CREATE TABLE broker_webhooks (
	seq       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id        TEXT COLLATE "C" NOT NULL UNIQUE,
	vendor    TEXT COLLATE "C" NOT NULL REFERENCES broker_vendors (vendor),
	url       TEXT COLLATE "C" NOT NULL,
	events    TEXT COLLATE "C" NOT NULL, -- what it asked for, joined by spaces
	state     TEXT COLLATE "C" NOT NULL CHECK (state IN ('enabled', 'disabled', 'removed')),
	succeeded BIGINT NOT NULL, -- the last time, microseconds since 1970; 0: never
	created   BIGINT NOT NULL -- microseconds since 1970
);

CREATE UNIQUE INDEX broker_webhooks_url ON broker_webhooks (vendor, url) WHERE state <> 'removed';

-- Messages to be delivered, each written in the transaction of what it tells.
CREATE TABLE broker_deliveries (
	seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id       TEXT COLLATE "C" NOT NULL UNIQUE, -- the message's, the same at every attempt
	webhook  TEXT COLLATE "C" NOT NULL REFERENCES broker_webhooks (id),
	vendor   TEXT COLLATE "C" NOT NULL,
	event    TEXT COLLATE "C" NOT NULL,
	body     TEXT COLLATE "C" NOT NULL, -- JSON
	state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
	attempts BIGINT NOT NULL, -- that were begun
	due      BIGINT NOT NULL, -- not before, microseconds since 1970; moved on when an attempt begins
	status   BIGINT NOT NULL, -- of the last answer; 0: there was none
	error    TEXT COLLATE "C" NOT NULL, -- why there was none, or ''
	ended    BIGINT NOT NULL, -- microseconds since 1970; 0: it waits
	created  BIGINT NOT NULL -- microseconds since 1970
);

CREATE INDEX broker_deliveries_due ON broker_deliveries (vendor, due) WHERE state = 'waiting';
CREATE INDEX broker_deliveries_vendor ON broker_deliveries (vendor, seq);
CREATE INDEX broker_deliveries_ended ON broker_deliveries (ended) WHERE ended > 0;
