-- Commitments that the background work could not release because the books do
-- not agree on them. They are left alone for a while, so that others are not
-- held up, and tried again, in case somebody has mended the books.
CREATE TABLE broker_unsound (
	commitment TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	what       TEXT COLLATE "C" NOT NULL, -- why, for the operator
	retry      BIGINT NOT NULL -- seconds since 1970: left alone before
);
