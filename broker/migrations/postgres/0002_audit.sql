-- Who changed what, when. Never changed, never deleted.
CREATE TABLE broker_audit (
	seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	created BIGINT NOT NULL, -- microseconds since 1970
	actor   TEXT COLLATE "C" NOT NULL, -- who did it, such as admin:anna, account:ID, vendor:ORIGIN, broker
	action  TEXT COLLATE "C" NOT NULL, -- what, such as fund or block-account
	subject TEXT COLLATE "C" NOT NULL, -- to what, such as account:ID
	detail  TEXT COLLATE "C" NOT NULL -- figures and reasons, for people; no secret
);

CREATE INDEX broker_audit_subject ON broker_audit (subject, seq);
CREATE INDEX broker_audit_actor ON broker_audit (actor, seq);

CREATE FUNCTION broker_audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the audit log is append-only';
END $$;

CREATE TRIGGER broker_audit_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON broker_audit
	FOR EACH STATEMENT EXECUTE FUNCTION broker_audit_keep();
