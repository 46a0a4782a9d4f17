-- Where payouts to vendors went, whose destination may be another one by now.
-- Their amounts are in the ledger.
CREATE TABLE broker_vendor_payouts (
	id          TEXT NOT NULL PRIMARY KEY, -- that the operator chose
	vendor      TEXT NOT NULL REFERENCES broker_vendors (vendor),
	destination TEXT NOT NULL,
	created     INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- Pages of what came in from one source.
CREATE INDEX broker_fundings_source_seq ON broker_fundings (source, seq);
