--- like bare
-- The bare table and an outbox: a trigger writes each change into a second table, with its transaction's id. A reader that
-- stays below the oldest transaction that is still open misses nothing.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid         xid8   NOT NULL DEFAULT pg_current_xact_id(),
    customer_id uuid   NOT NULL,
    payload     jsonb  NOT NULL
);
CREATE INDEX ON outbox (xid, id);
CREATE FUNCTION write_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (customer_id, payload)
    VALUES (NEW.customer_id, jsonb_build_object(
        'type', CASE TG_OP WHEN 'INSERT' THEN 'customer-registered' ELSE 'customer-updated' END,
        'eventId', gen_random_uuid(), 'occurredAt', NEW.updated_at, 'version', NEW.version,
        'customer', jsonb_build_object('customerId', NEW.customer_id, 'email', NEW.email, 'name', NEW.name, 'status', NEW.status)));
    RETURN NULL;
END $$;
CREATE TRIGGER write_outbox AFTER INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION write_outbox();
--- feed
SELECT xid::text::bigint, id, payload::text FROM outbox
 WHERE (xid, id) > ($1::bigint::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xid, id LIMIT 1000;
--- feed_by_id
SELECT id, 0::bigint, payload::text FROM outbox WHERE id > $1::bigint ORDER BY id LIMIT 1000;
