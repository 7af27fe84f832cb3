CREATE TABLE IF NOT EXISTS customers.customers (
    customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        COLLATE "C" NOT NULL UNIQUE,
    name          text,
    status        text        NOT NULL DEFAULT 'ACTIVE'
                              CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    version       bigint      NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS idx_customers_status ON customers.customers (status);

COMMENT ON TABLE customers.customers IS 'Customers: persons with an account. Written through functions or plain DML; never deleted, only erased.';
COMMENT ON COLUMN customers.customers.customer_id IS 'Identifies the customer; never changes, never reused';
COMMENT ON COLUMN customers.customers.email IS 'E-mail address in canonical form; unique';
COMMENT ON COLUMN customers.customers.name IS 'Name, in NFC; NULL when not known';
COMMENT ON COLUMN customers.customers.status IS 'ACTIVE, SUSPENDED (temporarily blocked) or CLOSED (for good)';
COMMENT ON COLUMN customers.customers.registered_at IS 'When the customer registered; never changes';
COMMENT ON COLUMN customers.customers.updated_at IS 'When e-mail, name or status last changed; kept by a trigger';
COMMENT ON COLUMN customers.customers.version IS '1 when registered, +1 for each change of e-mail, name or status; kept by a trigger';

-- With cached sequence values, later transactions could draw lower positions.
CREATE TABLE IF NOT EXISTS customers.events (
    position    bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    event_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
    type        text        NOT NULL,
    customer_id uuid        NOT NULL,
    version     bigint      NOT NULL,
    occurred_at timestamptz NOT NULL,
    changes     jsonb       NOT NULL,
    recorded_by text        NOT NULL,
    actor       text,
    reason      text,
    announce    boolean
);
CREATE INDEX IF NOT EXISTS idx_events_customer ON customers.events (customer_id, version);

COMMENT ON TABLE customers.events IS 'The feed: one row for each committed fact about a customer. Append-only.';
COMMENT ON COLUMN customers.events.position IS 'Place in the feed, ascending; gaps are allowed';
COMMENT ON COLUMN customers.events.event_id IS 'Identifies the event';
COMMENT ON COLUMN customers.events.type IS 'customer-registered, customer-updated or customer-erased';
COMMENT ON COLUMN customers.events.customer_id IS 'Whom it is about';
COMMENT ON COLUMN customers.events.version IS 'The customer''s version after the event';
COMMENT ON COLUMN customers.events.occurred_at IS 'When it happened: the customer''s updated_at after the event';
COMMENT ON COLUMN customers.events.changes IS 'The new values of the fields that were set: email, name, status';
COMMENT ON COLUMN customers.events.recorded_by IS 'The login role of the session (session_user)';
COMMENT ON COLUMN customers.events.actor IS 'On whose behalf, as the application said in customer_db.actor';
COMMENT ON COLUMN customers.events.reason IS 'Why, where a reason was given';
COMMENT ON COLUMN customers.events.announce IS 'What the notification worker sends: true a notification of this event, false one that stands for it and what follows in its transaction, NULL nothing';

CREATE TABLE IF NOT EXISTS customers.consumers (
    consumer        text        PRIMARY KEY,
    position        bigint      NOT NULL,
    acknowledged_at timestamptz
);
COMMENT ON TABLE customers.consumers IS 'Named readers of the feed and the place each has reached.';
COMMENT ON COLUMN customers.consumers.consumer IS 'The reader''s name';
COMMENT ON COLUMN customers.consumers.position IS 'The last position it has acknowledged';
COMMENT ON COLUMN customers.consumers.acknowledged_at IS 'When it last acknowledged; NULL before the first time';

CREATE TABLE IF NOT EXISTS customers.erasures (
    customer_id uuid        PRIMARY KEY,
    erased_at   timestamptz NOT NULL,
    erased_by   text        NOT NULL,
    reason      text
);
COMMENT ON TABLE customers.erasures IS 'The ledger of erased customers: who must stay forgotten after a restore.';
COMMENT ON COLUMN customers.erasures.customer_id IS 'Who was erased';
COMMENT ON COLUMN customers.erasures.erased_at IS 'When';
COMMENT ON COLUMN customers.erasures.erased_by IS 'The login role of the session (session_user)';
COMMENT ON COLUMN customers.erasures.reason IS 'Why, where a reason was given';

CREATE TABLE IF NOT EXISTS customers.feed_epochs (
    epoch          int         PRIMARY KEY,
    first_position bigint      NOT NULL,
    previous_end   bigint      NOT NULL,
    began_at       timestamptz NOT NULL,
    pruned_to      bigint      NOT NULL DEFAULT 0,
    history        text        NOT NULL
);
CREATE SEQUENCE IF NOT EXISTS customers.feed_read_seq MINVALUE 0 START 0 OWNED BY customers.feed_epochs.first_position;

COMMENT ON TABLE customers.feed_epochs IS 'Epochs of the feed, one for each server history that wrote to it, and up to where it was pruned. Goes into every dump with the feed.';
COMMENT ON COLUMN customers.feed_epochs.epoch IS 'Number of the epoch, from 1';
COMMENT ON COLUMN customers.feed_epochs.first_position IS 'Positions of the epoch are at or above it';
COMMENT ON COLUMN customers.feed_epochs.previous_end IS 'Up to where nothing of the epoch before can be missing: readers between it and first_position have read what was lost';
COMMENT ON COLUMN customers.feed_epochs.began_at IS 'When it began';
COMMENT ON COLUMN customers.feed_epochs.pruned_to IS 'The highest position that was pruned; 0 where none was';
COMMENT ON COLUMN customers.feed_epochs.history IS 'What wrote it: system identifier, OIDs of database and sequence, timeline';
COMMENT ON SEQUENCE customers.feed_read_seq IS 'The last event that was there, with all before it, when a reader last got events';

-- grant_access() marks a duty by REFERENCES on the column of its name, which permits nothing: the table has no rows, and no
-- key for a foreign key to reference. Unlike privileges on functions, marks are in every dump of the schema and outlive the
-- extension.
CREATE TABLE IF NOT EXISTS customers.duty_marks (
    writer   boolean,
    reader   boolean,
    support  boolean,
    consumer boolean,
    auditor  boolean,
    privacy  boolean,
    operator boolean
);
-- Where the table was there without some of them.
DO $marks$
DECLARE
    duty text;
BEGIN
    FOR duty IN
        SELECT name
          FROM unnest(ARRAY['writer', 'reader', 'support', 'consumer', 'auditor', 'privacy', 'operator']) AS name
         WHERE NOT EXISTS (SELECT FROM pg_attribute
                            WHERE attrelid = 'customers.duty_marks'::regclass AND attname = name AND NOT attisdropped)
    LOOP
        EXECUTE format('ALTER TABLE customers.duty_marks ADD COLUMN %I boolean', duty);
    END LOOP;
END
$marks$;
COMMENT ON TABLE customers.duty_marks IS 'Marks duties: a role that holds REFERENCES on a column was given the duty of its name. Has no rows; see customers.duties().';
COMMENT ON COLUMN customers.duty_marks.writer IS 'Marks the duty writer';
COMMENT ON COLUMN customers.duty_marks.reader IS 'Marks the duty reader';
COMMENT ON COLUMN customers.duty_marks.support IS 'Marks the duty support';
COMMENT ON COLUMN customers.duty_marks.consumer IS 'Marks the duty consumer';
COMMENT ON COLUMN customers.duty_marks.auditor IS 'Marks the duty auditor';
COMMENT ON COLUMN customers.duty_marks.privacy IS 'Marks the duty privacy';
COMMENT ON COLUMN customers.duty_marks.operator IS 'Marks the duty operator';

REVOKE ALL ON SCHEMA customers FROM PUBLIC;
REVOKE ALL ON customers.customers, customers.events, customers.consumers, customers.erasures, customers.feed_epochs,
              customers.duty_marks
  FROM PUBLIC;
REVOKE ALL ON SEQUENCE customers.events_position_seq, customers.feed_read_seq FROM PUBLIC;
