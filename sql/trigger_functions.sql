-- None of these needs rights of its own, and those that run for every row no search_path either, for they run
-- no statement: the guard of a bulk load could not afford it.
CREATE FUNCTION guard()
    RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'guard_wrapper';
COMMENT ON FUNCTION guard() IS
'Trigger: holds every row that is written to customers.customers to the rules, and keeps version and updated_at.
Refuses with 22023 (a value breaks its rule), 23514 (the account is closed, a column that never changes).';

CREATE FUNCTION refuse_removal()
    RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'refuse_removal_wrapper';
COMMENT ON FUNCTION refuse_removal() IS
'Trigger: keeps customers from being deleted, and events from being changed or deleted.
Refuses with 23514.';

CREATE FUNCTION record_registered()
    RETURNS trigger LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_registered_wrapper';
COMMENT ON FUNCTION record_registered() IS
'Trigger: records one customer-registered event for each customer that a statement inserted, and notifies.';

CREATE FUNCTION record_updated()
    RETURNS trigger LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_updated_wrapper';
COMMENT ON FUNCTION record_updated() IS
'Trigger: records one customer-updated event for each customer whose profile a statement changed, and notifies.';
