CREATE FUNCTION get_customer(customer_id uuid)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'get_customer_wrapper';
COMMENT ON FUNCTION get_customer(uuid) IS
'The customer with this id: one row or none.
customer_id: whom.
Refuses nothing.';

CREATE FUNCTION find_customer(email text)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'find_customer_wrapper';
COMMENT ON FUNCTION find_customer(text) IS
'The customer with this address: one row or none.
email: the address, in any spelling that is the same address.
Refuses with 22023 (not an e-mail address).';

CREATE FUNCTION list_customers(status text DEFAULT NULL, after uuid DEFAULT NULL, page_size int DEFAULT 100)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'list_customers_wrapper';
COMMENT ON FUNCTION list_customers(text, uuid, int) IS
'A page of customers, ordered by id.
status: only those in this status; after: the last customer_id of the page before; page_size: 1 to 1000.
Refuses with 22023 (unknown status, page size out of range).';

CREATE FUNCTION search_customers(prefix text, page_size int DEFAULT 20)
    RETURNS SETOF profile
    LANGUAGE c STABLE PARALLEL SAFE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'search_customers_wrapper';
COMMENT ON FUNCTION search_customers(text, int) IS
'Customers whose address begins so, ordered by address.
prefix: how the address begins, at least one character; page_size: 1 to 1000.
Refuses with 22023 (empty prefix, a character that no address holds, page size out of range).';

CREATE FUNCTION customer_history(customer_id uuid)
    RETURNS TABLE ("position" bigint, event_id uuid, type text, version bigint, occurred_at timestamptz,
                   changes jsonb, recorded_by text, actor text, reason text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'customer_history_wrapper';
COMMENT ON FUNCTION customer_history(uuid) IS
'Every event of one customer, in order, with values: for auditors.
customer_id: whom.
Refuses nothing.';

CREATE FUNCTION customer_timeline(customer_id uuid)
    RETURNS TABLE (version bigint, occurred_at timestamptz, type text, changed text[],
                   recorded_by text, actor text, reason text)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'customer_timeline_wrapper';
COMMENT ON FUNCTION customer_timeline(uuid) IS
'What happened to one customer, when, by whom and to which fields, never a value: for support.
customer_id: whom.
Refuses nothing.';
