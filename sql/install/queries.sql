-- The four reads of the duty reader run with their caller's rights: the caller may SELECT from the table
-- anyway, and its row level security applies.

-- Inlined by the planner, so it costs as much as the SELECT. It runs with its caller's search_path, so its
-- operator is qualified. Its body is not checked here, since the table need not exist yet.
SET LOCAL check_function_bodies = off;
CREATE FUNCTION get_customer(customer_id uuid)
    RETURNS SETOF profile
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$
SELECT customer_id, email, name, status, registered_at, updated_at, version
  FROM customers.customers
 WHERE customer_id OPERATOR(pg_catalog.=) $1
$$;
COMMENT ON FUNCTION get_customer(uuid) IS
'The customer with this id: one row or none.
customer_id: whom.
Refuses nothing.';

CREATE FUNCTION find_customer(email text)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'find_customer_wrapper';
COMMENT ON FUNCTION find_customer(text) IS
'The customer with this address: one row or none.
email: the address, in any spelling that is the same address.
Refuses with 22021 (a text that is not UTF-8), 22023 (not an e-mail address), 55000 (the tables are not as they were made).';

CREATE FUNCTION list_customers(status text DEFAULT NULL, after uuid DEFAULT NULL, page_size int DEFAULT 100)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'list_customers_wrapper';
COMMENT ON FUNCTION list_customers(text, uuid, int) IS
'A page of customers, ordered by id.
status: only those in this status; after: the last customer_id of the page before; page_size: 1 to 1000.
Refuses with 22021 (a text that is not UTF-8), 22023 (unknown status, page size out of range), 55000 (the tables are not as they were made).';

CREATE FUNCTION search_customers(prefix text, page_size int DEFAULT 20)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'search_customers_wrapper';
COMMENT ON FUNCTION search_customers(text, int) IS
'Customers whose address begins so, ordered by address.
prefix: how the address begins, at least one character; page_size: 1 to 1000.
Refuses with 22021 (a text that is not UTF-8), 22023 (empty prefix, a character that no address holds, page size out of range), 55000 (the tables are not as they were made).';

CREATE FUNCTION canonical_email(email text)
    RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'canonical_email_wrapper';
COMMENT ON FUNCTION canonical_email(text) IS
'The address as it is stored: for look-ups by plain SQL, for hashing before a call, for mending rows. NULL for NULL.
email: the address, in any spelling.
Refuses with 22021 (not UTF-8), 22023 (not an e-mail address).';

CREATE FUNCTION canonical_name(name text)
    RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'canonical_name_wrapper';
COMMENT ON FUNCTION canonical_name(text) IS
'The name as it is stored. NULL for NULL.
name: the name.
Refuses with 22021 (not UTF-8), 22023 (a name that breaks its rule).';

CREATE FUNCTION customer_history(customer_id uuid)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, version bigint, occurred_at timestamptz,
                   changes jsonb, recorded_by text, actor text, reason text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'customer_history_wrapper';
COMMENT ON FUNCTION customer_history(uuid) IS
'Every event of one customer, in order, with values: for auditors.
customer_id: whom.
Refuses with 55000 (the tables are not as they were made).';

CREATE FUNCTION customer_timeline(customer_id uuid)
    RETURNS TABLE (version bigint, occurred_at timestamptz, type text, changed text[],
                   recorded_by text, actor text, reason text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'customer_timeline_wrapper';
COMMENT ON FUNCTION customer_timeline(uuid) IS
'What happened to one customer, when, by whom and to which fields, never a value: for support.
customer_id: whom.
Refuses with 55000 (the tables are not as they were made).';
