-- What writers are compared with: INSERT with NOTIFY in a trigger, and a hand-written outbox.
CREATE TABLE notifying (LIKE bare INCLUDING ALL);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('notifying', json_build_object('customerId', NEW.customer_id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON notifying FOR EACH ROW EXECUTE FUNCTION tell();

CREATE TABLE outboxed (LIKE bare INCLUDING ALL);
CREATE TABLE outbox (
    id          bigserial PRIMARY KEY,
    customer_id uuid      NOT NULL,
    payload     jsonb     NOT NULL
);
CREATE INDEX ON outbox (customer_id);
