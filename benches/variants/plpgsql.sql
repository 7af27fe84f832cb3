--- like bare
-- The rules, versions and events in PL/pgSQL, as somebody would write them: a row trigger, statement triggers, functions.
CREATE TABLE events (
    position    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
    type        text        NOT NULL,
    customer_id uuid        NOT NULL,
    version     bigint      NOT NULL,
    occurred_at timestamptz NOT NULL,
    changes     jsonb       NOT NULL,
    recorded_by text        NOT NULL,
    actor       text,
    reason      text
);
CREATE INDEX ON events (customer_id, version);

CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.email := lower(normalize(btrim(NEW.email, E' \t\n\r\f\v')));
    IF NEW.email !~ '^[[:alnum:]!#$%&''*+/=?^_`{|}~-]+(\.[[:alnum:]!#$%&''*+/=?^_`{|}~-]+)*@([[:alnum:]]([[:alnum:]-]*[[:alnum:]])?\.)+[[:alpha:]][[:alnum:]-]*$'
       OR octet_length(NEW.email) > 254 OR position('@' IN NEW.email) > 65 THEN
        RAISE EXCEPTION 'e-mail address is not valid' USING ERRCODE = '22023';
    END IF;
    NEW.name := normalize(btrim(NEW.name));
    IF NEW.name ~ '[[:cntrl:]]' OR length(NEW.name) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'name is not valid' USING ERRCODE = '22023';
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.version := 1;
        NEW.updated_at := now();
        RETURN NEW;
    END IF;
    IF (NEW.customer_id, NEW.registered_at) IS DISTINCT FROM (OLD.customer_id, OLD.registered_at) THEN
        RAISE EXCEPTION 'customer_id and registered_at never change' USING ERRCODE = '23514';
    END IF;
    NEW.version := OLD.version;
    NEW.updated_at := OLD.updated_at;
    IF (NEW.email, NEW.name, NEW.status) IS DISTINCT FROM (OLD.email, OLD.name, OLD.status) THEN
        IF OLD.status = 'CLOSED' THEN
            RAISE EXCEPTION 'the account is closed' USING ERRCODE = '23514';
        END IF;
        NEW.version := OLD.version + 1;
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION guard();

CREATE FUNCTION record_registered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.events (type, customer_id, version, occurred_at, changes, recorded_by, actor)
    SELECT 'customer-registered', customer_id, version, updated_at,
           jsonb_strip_nulls(jsonb_build_object('email', email, 'name', name, 'status', status)),
           session_user, nullif(current_setting('shop.actor', true), '')
      FROM registered;
    RETURN NULL;
END $$;
CREATE TRIGGER record_registered AFTER INSERT ON customers REFERENCING NEW TABLE AS registered
    FOR EACH STATEMENT EXECUTE FUNCTION record_registered();

CREATE FUNCTION record_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.events (type, customer_id, version, occurred_at, changes, recorded_by, actor)
    SELECT 'customer-updated', customer_id, after.version, after.updated_at,
           CASE WHEN after.email <> before.email THEN jsonb_build_object('email', after.email) ELSE '{}' END ||
           CASE WHEN after.name IS DISTINCT FROM before.name THEN jsonb_build_object('name', after.name) ELSE '{}' END ||
           CASE WHEN after.status <> before.status THEN jsonb_build_object('status', after.status) ELSE '{}' END,
           session_user, nullif(current_setting('shop.actor', true), '')
      FROM before JOIN after USING (customer_id)
     WHERE after.version <> before.version;
    RETURN NULL;
END $$;
CREATE TRIGGER record_updated AFTER UPDATE ON customers REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION record_updated();

CREATE FUNCTION register_customer(email text, name text) RETURNS customers
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    registered public.customers;
BEGIN
    INSERT INTO public.customers (email, name) VALUES (register_customer.email, register_customer.name)
    RETURNING * INTO registered;
    RETURN registered;
END $$;

CREATE FUNCTION update_customer(customer_id uuid, email text DEFAULT NULL, name text DEFAULT NULL, status text DEFAULT NULL,
                                expected_version bigint DEFAULT NULL) RETURNS customers
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    customer public.customers;
BEGIN
    SELECT * INTO customer FROM public.customers AS c WHERE c.customer_id = update_customer.customer_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such customer' USING ERRCODE = 'PT404';
    END IF;
    IF customer.version <> expected_version THEN
        RAISE EXCEPTION 'another version' USING ERRCODE = 'PT409';
    END IF;
    -- An UPDATE that names the address would lock the row FOR UPDATE.
    IF update_customer.email IS NULL THEN
        UPDATE public.customers AS c
           SET name = coalesce(update_customer.name, c.name), status = coalesce(update_customer.status, c.status)
         WHERE c.customer_id = update_customer.customer_id RETURNING * INTO customer;
    ELSE
        UPDATE public.customers AS c
           SET email = update_customer.email, name = coalesce(update_customer.name, c.name),
               status = coalesce(update_customer.status, c.status)
         WHERE c.customer_id = update_customer.customer_id RETURNING * INTO customer;
    END IF;
    RETURN customer;
END $$;
--- register
SELECT * FROM register_customer('r' || :r || '@example.com', 'Customer Name');
--- update
SELECT * FROM update_customer(md5(:n::text)::uuid, name => 'Name ' || :r);
--- set_status
SELECT changed.* FROM customers AS c,
       update_customer(c.customer_id, status => CASE c.status WHEN 'ACTIVE' THEN 'SUSPENDED' ELSE 'ACTIVE' END) AS changed
 WHERE c.customer_id = md5(:n::text)::uuid;
--- one_session
DO $$
DECLARE r record;
BEGIN
    FOR i IN 1..10000 LOOP
        r := register_customer('s' || i || '-:tag@example.com', 'Customer Name');
    END LOOP;
END $$;
