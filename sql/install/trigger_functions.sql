-- None of these is SECURITY DEFINER. guard and refuse_removal have no search_path either: setting it would cost
-- time for every row of a bulk load.
CREATE FUNCTION guard()
    RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'guard_wrapper';
COMMENT ON FUNCTION guard() IS
'Trigger: holds every row that is written to customers.customers to the rules, and keeps version and updated_at.
Refuses with 22021 (a text that is not UTF-8), 22023 (a value breaks its rule), 23514 (the account is closed, a column that never changes), 55000 (a row that comes through another table or by logical replication, or whose statement has not ended).';

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

CREATE FUNCTION keep_erasure()
    RETURNS trigger LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'keep_erasure_wrapper';
COMMENT ON FUNCTION keep_erasure() IS
'Trigger: passes over an entry of the ledger that is there already, so that a ledger can be loaded over a part of it.
Refuses nothing.';
