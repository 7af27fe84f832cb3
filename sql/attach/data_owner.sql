-- The owner of a table of customers that was there before may be another role than the one at work. What looks into its
-- rows is done with that owner's rights, for which it needs these.
DO $data_owner$
DECLARE
    data_owner regrole = (SELECT relowner FROM pg_class WHERE oid = 'customers.customers'::regclass);
BEGIN
    IF NOT has_schema_privilege(data_owner, 'customers', 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA customers TO %s', data_owner);
    END IF;
    IF NOT has_function_privilege(data_owner, 'customers.broken_rule(text, text, text)', 'EXECUTE') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION customers.broken_rule(text, text, text) TO %s', data_owner);
    END IF;
END
$data_owner$;
