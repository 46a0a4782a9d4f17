-- Who is signed in to the pages. Signing out deletes the row.
CREATE TABLE clearing_sessions (
	id       TEXT    NOT NULL PRIMARY KEY, -- SHA-256 of what the cookie holds, hexadecimal
	operator TEXT    NOT NULL,
	token    TEXT    NOT NULL, -- a MAC by the operator's token: another token ends the session
	created  INTEGER NOT NULL, -- seconds since 1970
	seen     INTEGER NOT NULL -- seconds since 1970, to the minute
) STRICT;

-- Who changed what, when. Never changed, never deleted.
CREATE TABLE clearing_audit (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	created INTEGER NOT NULL, -- microseconds since 1970
	actor   TEXT NOT NULL, -- who did it, such as operator:anna, command or clearing
	action  TEXT NOT NULL, -- what, such as plan, approve or import
	subject TEXT NOT NULL, -- to what, such as run:ID or instruction:ID
	detail  TEXT NOT NULL -- figures and reasons, for people; no secret
) STRICT;

CREATE INDEX clearing_audit_subject ON clearing_audit (subject, seq);
CREATE INDEX clearing_audit_action ON clearing_audit (action, seq);
CREATE INDEX clearing_audit_actor ON clearing_audit (actor, seq);
CREATE INDEX clearing_audit_created ON clearing_audit (created);

CREATE TRIGGER clearing_audit_no_update BEFORE UPDATE ON clearing_audit BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER clearing_audit_no_delete BEFORE DELETE ON clearing_audit BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;
