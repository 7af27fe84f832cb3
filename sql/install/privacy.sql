CREATE FUNCTION erase_customer(customer_id uuid, reason text DEFAULT NULL)
    RETURNS profile
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'erase_customer_wrapper';
COMMENT ON FUNCTION erase_customer(uuid, text) IS
'Forgets a person: the account is closed, address and name go from the customer and from each of its events, the ledger is told. A second time is a success that records nothing.
customer_id: whom; reason: kept in the ledger and with the event that tells consumers to forget their copies, at most 1000 characters.
The planner''s statistics (pg_stats) may show an erased value until the next ANALYZE of customers and events.
Refuses with 22021 (a reason that is not UTF-8), 22023 (no customer_id, a reason too long), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer).';

CREATE FUNCTION export_customer(customer_id uuid)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'export_customer_wrapper';
COMMENT ON FUNCTION export_customer(uuid) IS
'Everything that is held on one person, in one document: customer, events, erasure.
customer_id: whom.
Refuses with 22023 (no customer_id), 55000 (the tables are not as they were made), PT404 (no such customer).';

CREATE FUNCTION reapply_erasures()
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'reapply_erasures_wrapper';
COMMENT ON FUNCTION reapply_erasures() IS
'After a restore: erases again whoever the ledger (customers.erasures) names and the restore brought back, and returns how many.
Refuses with 25006 (nothing may be written here), 55000 (the rules are not in force).';
