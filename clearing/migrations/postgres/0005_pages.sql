-- Who is signed in to the pages. Signing out deletes the row.
CREATE TABLE clearing_sessions (
	id       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- SHA-256 of what the cookie holds, hexadecimal
	operator TEXT COLLATE "C" NOT NULL,
	token    TEXT COLLATE "C" NOT NULL, -- a MAC by the operator's token: another token ends the session
	created  BIGINT NOT NULL, -- seconds since 1970
	seen     BIGINT NOT NULL -- seconds since 1970, to the minute
);

-- Who changed what, when. Never changed, never deleted.
CREATE TABLE clearing_audit (
	seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	created BIGINT NOT NULL, -- microseconds since 1970
	actor   TEXT COLLATE "C" NOT NULL, -- who did it, such as operator:anna, command or clearing
	action  TEXT COLLATE "C" NOT NULL, -- what, such as plan, approve or import
	subject TEXT COLLATE "C" NOT NULL, -- to what, such as run:ID or instruction:ID
	detail  TEXT COLLATE "C" NOT NULL -- figures and reasons, for people; no secret
);

CREATE INDEX clearing_audit_subject ON clearing_audit (subject, seq);
CREATE INDEX clearing_audit_action ON clearing_audit (action, seq);
CREATE INDEX clearing_audit_actor ON clearing_audit (actor, seq);
CREATE INDEX clearing_audit_created ON clearing_audit (created);

CREATE TRIGGER clearing_audit_no_update BEFORE UPDATE ON clearing_audit
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();

CREATE TRIGGER clearing_audit_no_delete BEFORE DELETE OR TRUNCATE ON clearing_audit
	FOR EACH STATEMENT EXECUTE FUNCTION clearing_keep();
