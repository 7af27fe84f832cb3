\echo Use "ALTER EXTENSION customer_db UPDATE TO '0.2.0'" to load this file. \quit

-- New: verify(), metrics(), duties(), record_missing_events(), offenders(), the table duty_marks.
SET LOCAL search_path = pg_catalog, pg_temp;

-- A session that loaded the library before it was replaced lacks the functions of this version.
DO $library$
BEGIN
    CREATE FUNCTION customers.verify()
        RETURNS TABLE (check_name text, ok boolean, detail text)
        LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
        AS 'MODULE_PATHNAME', 'verify_wrapper';
EXCEPTION WHEN undefined_function THEN
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'this session has loaded the library of an earlier customer_db',
        HINT    = 'Connect again; where customer_db is in shared_preload_libraries, restart the server first.';
END
$library$;
COMMENT ON FUNCTION customers.verify() IS
'Whether this installation keeps its promises, one row for each check: its name, whether all is in order, and in detail what is not and what to type, or NULL. Shows no personal data. The checks rows_keep_rules and rows_match_events read every customer, the latter every event too: seconds for each million.
Refuses nothing.';

CREATE FUNCTION customers.metrics()
    RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'metrics_wrapper';
COMMENT ON FUNCTION customers.metrics() IS
'Measures of the installation under Prometheus names, for a scraper that asks every few seconds: feed, consumers, customers by status, worker, NOTIFY queue, epochs, erasures. Tables above 8 MB are not counted: PostgreSQL''s estimates are taken, which VACUUM and ANALYZE renew. Shows no personal data.
Refuses with 55000 (the tables are not there).';

CREATE FUNCTION customers.duties()
    RETURNS TABLE (role text, duty text, complete boolean)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'duties_wrapper';
COMMENT ON FUNCTION customers.duties() IS
'Which role was given which duty, and whether it holds all privileges of it: not after DROP EXTENSION … CASCADE or a restore without the extension, which lose those on functions. What a role inherits from another is not listed.
Refuses nothing.';

CREATE FUNCTION customers.record_missing_events(max_customers int DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_missing_events_wrapper';
COMMENT ON FUNCTION customers.record_missing_events(int) IS
'Records customers of whom the feed does not know, and returns how many: customer-registered, with the version it has, for each of an adopted table; customer-updated with every field and a new version for each whose row was changed past the triggers. Reads all customers and events; writes one event for each.
max_customers: at most so many in this call; NULL for all.
For the owner of the extension. Refuses with 22023 (max_customers below 0), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (a customer to record breaks a rule).';

CREATE FUNCTION customers.offenders()
    RETURNS TABLE (customer_id uuid, problems text[], canonical_email text, canonical_name text, collides_with uuid[])
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $offenders$
        WITH judged AS (
            SELECT customer_id, status, registered_at, updated_at,
                   customers.broken_rule(email, name, status) AS broken,
                   customers.broken_rule(email, NULL, 'ACTIVE') AS about_email,
                   customers.broken_rule('a@example.com', name, 'ACTIVE') AS about_name,
                   customers.broken_rule('a@example.com', NULL, status) AS about_status,
                   email, name,
                   -- An adopted table need not have the column.
                   to_jsonb(customer) AS all_columns
              FROM customers.customers AS customer
        ), mended AS (
            SELECT *,
                   CASE WHEN about_email IS NULL OR about_email LIKE '%not in canonical form'
                        THEN customers.canonical_email(email) ELSE email END AS mended_email,
                   CASE WHEN about_name IS NULL OR about_name LIKE '%not in canonical form'
                        THEN customers.canonical_name(name) END AS mended_name
              FROM judged
        ), compared AS (
            SELECT *,
                   array_agg(customer_id) OVER (PARTITION BY mended_email) AS same_address,
                   count(*) OVER (PARTITION BY customer_id) AS same_id,
                   all_columns ? 'version' AND coalesce((all_columns ->> 'version')::bigint, 0) < 1 AS has_no_version
              FROM mended
        )
        SELECT customer_id,
               array_remove(ARRAY[
                   CASE WHEN broken IS NOT NULL THEN about_email END,
                   CASE WHEN broken IS NOT NULL THEN about_name END,
                   CASE WHEN broken IS NOT NULL THEN about_status END,
                   CASE WHEN customer_id IS NULL THEN 'customer_id is NULL' END,
                   CASE WHEN same_id > 1 THEN 'customer_id is that of several customers' END,
                   CASE WHEN registered_at IS NULL THEN 'registered_at is NULL' END,
                   CASE WHEN registered_at > clock_timestamp() THEN 'registered_at is in the future' END,
                   CASE WHEN registered_at < '1900-01-01 00:00:00+00' THEN 'registered_at is before 1900' END,
                   CASE WHEN updated_at IS NULL THEN 'updated_at is NULL' END,
                   CASE WHEN has_no_version THEN 'version is NULL or below 1' END,
                   CASE WHEN cardinality(same_address) > 1 THEN 'the address is that of several customers' END], NULL),
               CASE WHEN about_email IS NULL OR about_email LIKE '%not in canonical form' THEN mended_email END,
               mended_name,
               nullif(array_remove(same_address, customer_id), '{}')
          FROM compared
         WHERE broken IS NOT NULL OR customer_id IS NULL OR same_id > 1 OR cardinality(same_address) > 1
            OR registered_at IS NULL OR registered_at > clock_timestamp()
            OR registered_at < '1900-01-01 00:00:00+00' OR updated_at IS NULL OR has_no_version
         ORDER BY mended_email, customer_id
    $offenders$;
COMMENT ON FUNCTION customers.offenders() IS
'Rows of customers.customers that break a rule or share an id or, in canonical form, an address with another: what attach() refuses. For each every problem, the canonical form of address and name (NULL where there is none), and the ids that it collides with. Reads all customers.
Shows personal data; for the owner of customers.customers. Refuses nothing.';

ALTER FUNCTION customers.attach() SET client_min_messages = warning;
COMMENT ON FUNCTION customers.attach() IS
'Creates the tables, indexes, constraints, triggers and the view that are missing in schema customers; leaves what is there. Where nothing is missing, nobody waits for it.
For the owner of the extension: after a restore, after DROP EXTENSION … CASCADE and CREATE EXTENSION.
Refuses with 25001 (an older snapshot), 25006 (nothing may be written here), 42501 (not the owner; the schema holds objects of another role, or others may create some), 55000 (customers.customers is no table of customers, has rows that break a rule, is a parent or a child of another table, or is managed by Citus).';

-- Every SQLSTATE.
COMMENT ON FUNCTION customers.register_customer(text, text, uuid) IS
'Registers a customer and returns it.
email: the address, in any spelling; name: optional; customer_id: makes a retry safe: the same id, e-mail and name again return the customer and record nothing.
Refuses with 22021 (a text that is not UTF-8), 22023 (e-mail or name breaks its rule), 23505 (the address or the id is taken), 25006 (nothing may be written here), 55000 (the rules are not in force).';
COMMENT ON FUNCTION customers.update_customer(uuid, text, text, text, bigint) IS
'Changes the fields that are given and returns the customer; NULL leaves a field as it is.
customer_id: whom; email, name, status: the new values; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (a value breaks its rule), 23505 (the address is taken), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';
COMMENT ON FUNCTION customers.patch_customer(uuid, jsonb, bigint) IS
'Applies a JSON merge patch (RFC 7396) to email, name and status and returns the customer.
customer_id: whom; patch: an object, an absent field stays, null clears the name; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (empty patch, unknown field, wrong type, a value breaks its rule), 23505 (the address is taken), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';
COMMENT ON FUNCTION customers.set_status(uuid, text, text, bigint) IS
'Moves the account to a status and returns the customer; the status it already has is a success that records nothing.
customer_id: whom; status: ACTIVE, SUSPENDED or CLOSED; reason: kept in the history, at most 1000 characters; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (unknown status), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';
COMMENT ON FUNCTION customers.import_customers(jsonb) IS
'Registers many customers with one statement; answers one row for each, and bad ones do not stop the good ones.
customers: an array of at most 100,000 objects with email and, where known, name, customerId, status and registeredAt (RFC 3339).
outcome: registered; exists (this address, with this id where one was given, was there); refused, with sqlstate and message.
Refuses with 22021 (a text that is not UTF-8), 22023 (not an array, too many elements), 25006 (nothing may be written here), 55000 (the rules are not in force).';
COMMENT ON FUNCTION customers.find_customer(text) IS
'The customer with this address: one row or none.
email: the address, in any spelling that is the same address.
Refuses with 22021 (a text that is not UTF-8), 22023 (not an e-mail address), 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.list_customers(text, uuid, int) IS
'A page of customers, ordered by id.
status: only those in this status; after: the last customer_id of the page before; page_size: 1 to 1000.
Refuses with 22021 (a text that is not UTF-8), 22023 (unknown status, page size out of range), 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.search_customers(text, int) IS
'Customers whose address begins so, ordered by address.
prefix: how the address begins, at least one character; page_size: 1 to 1000.
Refuses with 22021 (a text that is not UTF-8), 22023 (empty prefix, a character that no address holds, page size out of range), 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.read_events(bigint, int) IS
'The feed past a position, in order: what has been committed, and nothing that another event could still come before.
after: the last position read, 0 for the beginning; batch_size: 1 to 10000.
Refuses with 22023 (batch size out of range), 25001 (outside READ COMMITTED), 25006 (on a standby), 55000 (the tables are not as they were made), PT410 (events after the position are gone: copy everything again).';
COMMENT ON FUNCTION customers.subscribe(text, bigint) IS
'Keeps a place in the feed under a name; a consumer that has one keeps the one it has.
consumer: the name; after: where to begin, 0 for the beginning; where a consumer that has a place has read to.
Refuses with 22021 (a name that is not UTF-8), 22023 (no name or one of more than 200 octets, a position beyond feed_position()), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT410 (events after the position were pruned, or the position was lost by a failover or a restore: copy everything again).';
COMMENT ON FUNCTION customers.unsubscribe(text) IS
'Forgets a consumer and its place.
consumer: the name.
Refuses with 22021 (a name that is not UTF-8), 22023 (no name or one of more than 200 octets), 25006 (nothing may be written here), 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.fetch_events(text, int) IS
'The feed past a consumer''s place, which it locks to the end of the transaction: two workers of one consumer take turns.
consumer: the name; batch_size: 1 to 10000.
Refuses with 22021 (a name that is not UTF-8), 22023 (batch size out of range), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT404 (no such consumer), PT410 (events after the place are gone: copy everything again).';
COMMENT ON FUNCTION customers.acknowledge(text, bigint) IS
'Moves a consumer''s place forward, never back.
consumer: the name; up_to: the position of the last event that it has dealt with.
Refuses with 22021 (a name that is not UTF-8), 22023 (no position, one beyond feed_position()), 25006 (nothing may be written here), 55000 (the tables are not as they were made), PT404 (no such consumer).';
COMMENT ON FUNCTION customers.prune_events(interval, int) IS
'Deletes old events from the beginning of the feed up to the first young one, never one that a consumer has not acknowledged, and returns how many.
older_than: how old, by occurred_at; max_events: how many at most, NULL for all.
Refuses with 22023 (no interval, one below zero, a negative number of events), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (the tables or the sequence are not as they were made).';
COMMENT ON FUNCTION customers.erase_customer(uuid, text) IS
'Forgets a person: the account is closed, address and name go from the customer and from each of its events, the ledger is told. A second time is a success that records nothing.
customer_id: whom; reason: kept in the ledger and with the event that tells consumers to forget their copies, at most 1000 characters.
The planner''s statistics (pg_stats) may show an erased value until the next ANALYZE of customers and events.
Refuses with 22021 (a reason that is not UTF-8), 22023 (no customer_id, a reason too long), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer).';
COMMENT ON FUNCTION customers.reapply_erasures() IS
'After a restore: erases again whoever the ledger (customers.erasures) names and the restore brought back, and returns how many.
Refuses with 25006 (nothing may be written here), 55000 (the rules are not in force).';
COMMENT ON FUNCTION customers.grant_access(regrole, text) IS
'Gives an existing role what one duty needs, and nothing else.
role: to whom; duty: writer, reader, support, consumer, auditor, privacy or operator.
Refuses with 22021 (a duty or a role''s name that is not UTF-8), 22023 (no such role or duty), 25006 (nothing may be written here), 42501 (not the owner''s to grant), 55000 (ALTER EXTENSION customer_db UPDATE is due).';
COMMENT ON FUNCTION customers.revoke_access(regrole, text) IS
'Takes from a role what grant_access() gave it for a duty, and leaves what its other duties need.
role: from whom; duty: writer, reader, support, consumer, auditor, privacy or operator.
Refuses with 22021 (a duty or a role''s name that is not UTF-8), 22023 (no such role or duty), 25006 (nothing may be written here), 42501 (not the owner''s to revoke), 55000 (ALTER EXTENSION customer_db UPDATE is due).';
COMMENT ON FUNCTION customers.customer_history(uuid) IS
'Every event of one customer, in order, with values: for auditors.
customer_id: whom.
Refuses with 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.customer_timeline(uuid) IS
'What happened to one customer, when, by whom and to which fields, never a value: for support.
customer_id: whom.
Refuses with 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.feed_position() IS
'The position of the last event up to which the feed is complete; 0 where it is empty. Where a consumer that copies the table begins.
Refuses with 25001 (outside READ COMMITTED), 25006 (on a standby), 55000 (the tables are not as they were made).';
COMMENT ON FUNCTION customers.export_customer(uuid) IS
'Everything that is held on one person, in one document: customer, events, erasure.
customer_id: whom.
Refuses with 22023 (no customer_id), 55000 (the tables are not as they were made), PT404 (no such customer).';

-- As sql/attach/tables.sql creates it; attach() of the new library may have done so before.
DO $marks$
DECLARE
    data_owner regrole = (SELECT relowner FROM pg_class WHERE oid = to_regclass('customers.customers'));
    granted    record;
BEGIN
    IF to_regclass('customers.duty_marks') IS NULL THEN
        CREATE TABLE customers.duty_marks (
            writer   boolean,
            reader   boolean,
            support  boolean,
            consumer boolean,
            auditor  boolean,
            privacy  boolean,
            operator boolean
        );
        ALTER EXTENSION customer_db DROP TABLE customers.duty_marks;
        COMMENT ON TABLE customers.duty_marks IS 'Marks duties: a role that holds REFERENCES on a column was given the duty of its name. Has no rows; see customers.duties().';
        COMMENT ON COLUMN customers.duty_marks.writer IS 'Marks the duty writer';
        COMMENT ON COLUMN customers.duty_marks.reader IS 'Marks the duty reader';
        COMMENT ON COLUMN customers.duty_marks.support IS 'Marks the duty support';
        COMMENT ON COLUMN customers.duty_marks.consumer IS 'Marks the duty consumer';
        COMMENT ON COLUMN customers.duty_marks.auditor IS 'Marks the duty auditor';
        COMMENT ON COLUMN customers.duty_marks.privacy IS 'Marks the duty privacy';
        COMMENT ON COLUMN customers.duty_marks.operator IS 'Marks the duty operator';
        IF data_owner IS NOT NULL THEN
            EXECUTE format('ALTER TABLE customers.duty_marks OWNER TO %s', data_owner);
        END IF;
    END IF;

    -- Nothing is granted by default, whatever the installer's ALTER DEFAULT PRIVILEGES say.
    FOR granted IN
        SELECT 'FUNCTION' AS kind, pg_proc.oid::regprocedure::text AS name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
          FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
         WHERE pronamespace = 'customers'::regnamespace AND grantee <> proowner
           AND proname IN ('verify', 'metrics', 'duties', 'record_missing_events', 'offenders')
        UNION
        SELECT 'TABLE', 'customers.duty_marks', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
          FROM pg_class, aclexplode(relacl)
         WHERE pg_class.oid = 'customers.duty_marks'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;

    -- Marks the duties that roles were given: those of which they hold everything.
    FOR granted IN
        SELECT role.oid::regrole AS role, wanted.duty
          FROM (VALUES ('writer', ARRAY['customers.register_customer(text,text,uuid)',
                                        'customers.update_customer(uuid,text,text,text,bigint)',
                                        'customers.patch_customer(uuid,jsonb,bigint)',
                                        'customers.set_status(uuid,text,text,bigint)', 'customers.import_customers(jsonb)']),
                       ('reader', ARRAY['customers.get_customer(uuid)', 'customers.find_customer(text)',
                                        'customers.list_customers(text,uuid,integer)',
                                        'customers.search_customers(text,integer)', 'customers.canonical_email(text)',
                                        'customers.canonical_name(text)']),
                       ('support', ARRAY['customers.customer_timeline(uuid)']),
                       ('consumer', ARRAY['customers.subscribe(text,bigint)', 'customers.fetch_events(text,integer)',
                                          'customers.acknowledge(text,bigint)', 'customers.read_events(bigint,integer)',
                                          'customers.feed_position()', 'customers.unsubscribe(text)']),
                       ('auditor', ARRAY['customers.customer_history(uuid)']),
                       ('privacy', ARRAY['customers.erase_customer(uuid,text)', 'customers.export_customer(uuid)',
                                         'customers.reapply_erasures()']),
                       ('operator', ARRAY['customers.prune_events(interval,integer)'])) AS wanted (duty, functions),
               pg_roles AS role
         WHERE NOT EXISTS (SELECT FROM unnest(wanted.functions) AS function
                            WHERE NOT EXISTS (SELECT FROM pg_proc, aclexplode(proacl)
                                               WHERE pg_proc.oid = function::regprocedure
                                                 AND grantee = role.oid AND grantee <> proowner))
           -- 0.1.0 distinguished a reader from a writer, which may read too, by a column.
           AND (wanted.duty <> 'reader'
                OR EXISTS (SELECT FROM pg_attribute, aclexplode(attacl)
                            WHERE attrelid = to_regclass('customers.customers') AND attname = 'version'
                              AND privilege_type = 'SELECT' AND grantee = role.oid))
    LOOP
        EXECUTE format('GRANT REFERENCES (%I) ON customers.duty_marks TO %s', granted.duty, granted.role);
        IF granted.duty = 'operator' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION customers.verify(), customers.metrics() TO %s',
                           granted.role);
        ELSIF granted.duty = 'reader' THEN
            EXECUTE format('REVOKE SELECT (version) ON customers.customers FROM %s', granted.role);
        END IF;
    END LOOP;
END
$marks$;
