--- like ours
-- customer_db, register_customer without SECURITY DEFINER and SET search_path.
CREATE FUNCTION undefended(email text, name text, customer_id uuid DEFAULT NULL) RETURNS customers.profile
    LANGUAGE c VOLATILE AS '$libdir/customer_db', 'register_customer_wrapper';
--- register
SELECT * FROM undefended('r' || :r || '@example.com', 'Customer Name');
