-- Who changed what, when. Never changed, never deleted.
CREATE TABLE broker_audit (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	created INTEGER NOT NULL, -- microseconds since 1970
	actor   TEXT NOT NULL, -- who did it, such as admin:anna, account:ID, vendor:ORIGIN, broker
	action  TEXT NOT NULL, -- what, such as fund or block-account
	subject TEXT NOT NULL, -- to what, such as account:ID
	detail  TEXT NOT NULL -- figures and reasons, for people; no secret
) STRICT;

CREATE INDEX broker_audit_subject ON broker_audit (subject, seq);
CREATE INDEX broker_audit_actor ON broker_audit (actor, seq);

CREATE TRIGGER broker_audit_no_update BEFORE UPDATE ON broker_audit BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER broker_audit_no_delete BEFORE DELETE ON broker_audit BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;
