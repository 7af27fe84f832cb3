--- like plpgsql
-- The same, and a trigger that notifies of each event.
CREATE FUNCTION notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('customers', json_build_object('position', NEW.position, 'type', NEW.type, 'customerId', NEW.customer_id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER notify AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION notify();
--- listen
LISTEN customers;
