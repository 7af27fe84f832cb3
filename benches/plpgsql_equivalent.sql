-- What register_customer is compared with: a bare table, and the same promises implemented in PL/pgSQL.
CREATE TABLE bare (
    customer_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        COLLATE "C" NOT NULL UNIQUE,
    name          text,
    status        text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON bare (status);

CREATE SCHEMA twin;
CREATE TABLE twin.customers (LIKE customers.customers INCLUDING ALL);
CREATE TABLE twin.events (LIKE customers.events INCLUDING ALL);

CREATE FUNCTION twin.guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
    NEW.version := 1;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT ON twin.customers FOR EACH ROW EXECUTE FUNCTION twin.guard();

CREATE FUNCTION twin.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO twin.events (type, customer_id, version, occurred_at, changes, recorded_by, actor)
    SELECT 'customer-registered', customer_id, version, updated_at,
           jsonb_strip_nulls(jsonb_build_object('email', email, 'name', name, 'status', status)),
           session_user, nullif(current_setting('customer_db.actor', true), '')
      FROM registered;
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER INSERT ON twin.customers REFERENCING NEW TABLE AS registered
    FOR EACH STATEMENT EXECUTE FUNCTION twin.record();

CREATE FUNCTION twin.register_customer(email text, name text) RETURNS customers.profile
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    registered customers.profile;
BEGIN
    INSERT INTO twin.customers (email, name) VALUES (register_customer.email, register_customer.name)
    RETURNING * INTO registered;
    RETURN registered;
END $$;

-- The same loop around each variant, so that its cost cancels out.
CREATE PROCEDURE register_bare(n int, tag text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR i IN 1..n LOOP
        INSERT INTO bare (email, name) VALUES ('c' || i || tag || '@example.com', 'Customer Name') RETURNING * INTO r;
    END LOOP;
END $$;
CREATE PROCEDURE register_twin(n int, tag text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR i IN 1..n LOOP
        r := twin.register_customer('c' || i || tag || '@example.com', 'Customer Name');
    END LOOP;
END $$;
CREATE PROCEDURE register_ours(n int, tag text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR i IN 1..n LOOP
        r := customers.register_customer('c' || i || tag || '@example.com', 'Customer Name');
    END LOOP;
END $$;
CREATE PROCEDURE register_ours_committing(n int, tag text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR i IN 1..n LOOP
        r := customers.register_customer('c' || i || tag || '@example.com', 'Customer Name');
        COMMIT;
    END LOOP;
END $$;

-- register_customer without SECURITY DEFINER and SET search_path.
CREATE FUNCTION undefended(email text, name text, customer_id uuid DEFAULT NULL) RETURNS customers.profile
    LANGUAGE c VOLATILE AS '$libdir/customer_db', 'register_customer_wrapper';
CREATE PROCEDURE register_undefended(n int, tag text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR i IN 1..n LOOP
        r := undefended('c' || i || tag || '@example.com', 'Customer Name');
    END LOOP;
END $$;
