-- 1: what the gateway puts on accounts, clearing has booked to it before. Those
-- that there are stay as they are: their cards are settled elsewhere.
ALTER TABLE broker_gateways ADD COLUMN backed INTEGER NOT NULL DEFAULT 0 CHECK (backed IN (0, 1));
