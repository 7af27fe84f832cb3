-- What PostGraphile shows: it leaves out the functions and types of extensions. Each function is one call, with its
-- caller's rights: the rules, the duties and the refusals are customer_db's.
CREATE SCHEMA customer_api;

CREATE TYPE customer_api.customer AS (
    customer_id   uuid,
    email         text,
    name          text,
    status        text,
    registered_at timestamptz,
    updated_at    timestamptz,
    version       bigint
);

-- Mutations.
CREATE FUNCTION customer_api.register_customer(email text, name text DEFAULT NULL, customer_id uuid DEFAULT NULL)
RETURNS customer_api.customer LANGUAGE sql AS $$
    SELECT * FROM customers.register_customer($1, $2, $3)
$$;

CREATE FUNCTION customer_api.update_customer(customer_id uuid, email text DEFAULT NULL, name text DEFAULT NULL,
                                             status text DEFAULT NULL, expected_version bigint DEFAULT NULL)
RETURNS customer_api.customer LANGUAGE sql AS $$
    SELECT * FROM customers.update_customer($1, $2, $3, $4, $5)
$$;

-- Queries.
CREATE FUNCTION customer_api.get_customer(customer_id uuid)
RETURNS customer_api.customer LANGUAGE sql STABLE AS $$
    SELECT * FROM customers.get_customer($1)
$$;

CREATE FUNCTION customer_api.find_customer(email text)
RETURNS customer_api.customer LANGUAGE sql STABLE AS $$
    SELECT * FROM customers.find_customer($1)
$$;

CREATE ROLE customer_graphql LOGIN;
SELECT customers.grant_access('customer_graphql', 'writer');
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA customer_api FROM PUBLIC;
GRANT USAGE ON SCHEMA customer_api TO customer_graphql;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA customer_api TO customer_graphql;
