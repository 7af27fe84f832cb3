-- What an installation of customer_db promises, as tests for pgTAP: pg_prove --dbname shop eg/pgtap.sql, or psql --file.
-- Run it as superuser. It changes nothing: everything is rolled back, and no notification is sent.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset pager off

BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(20);

SELECT is_empty('SELECT check_name, detail FROM customers.verify() WHERE NOT ok', 'verify() finds everything in order');
SELECT has_extension('customer_db');

-- Functions: which the planner may inline or index, and whose rights they work with.
SELECT volatility_is('customers', 'canonical_email', '{text}', 'immutable', 'canonical_email() may stand in an index');
SELECT volatility_is('customers', 'get_customer', '{uuid}', 'stable', 'get_customer() can be inlined: stable');
SELECT function_lang_is('customers', 'get_customer', '{uuid}', 'sql', 'get_customer() can be inlined: SQL');
SELECT isnt_definer('customers', 'get_customer', '{uuid}', 'get_customer() has its caller''s rights');
SELECT is_definer('customers', 'register_customer', '{text,text,uuid}', 'register_customer() has the owner''s rights');
SELECT is_definer('customers', 'read_events', '{bigint,integer}', 'read_events() has the owner''s rights');

-- The table and its triggers.
SELECT col_is_pk('customers', 'customers', 'customer_id', 'customer_id is the key');
SELECT col_is_unique('customers', 'customers', 'email', 'an address has one customer');
SELECT trigger_is('customers', 'customers', 'guard', 'customers', 'guard', 'the rules are applied to each row');
SELECT trigger_is('customers', 'customers', 'record_updated', 'customers', 'record_updated', 'changes are recorded');
SELECT trigger_is('customers', 'events', 'refuse_removal', 'customers', 'refuse_removal', 'events are not removed');

SELECT is_empty($$
    SELECT oid::regprocedure::text FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
     WHERE pronamespace = 'customers'::regnamespace AND grantee = 0
    UNION ALL
    SELECT oid::regclass::text FROM pg_class, aclexplode(relacl)
     WHERE relnamespace = 'customers'::regnamespace AND grantee = 0 $$, 'nothing is granted to PUBLIC');

-- Refusals, by SQLSTATE.
SELECT lives_ok($$ SELECT customers.register_customer('pgtap@example.com', customer_id => '0a11ce00-0000-4000-8000-000000000001') $$,
                'a customer registers');
SELECT throws_ok($$ SELECT customers.register_customer(' PGTAP@example.com') $$, '23505', NULL, 'the address is taken');
SELECT throws_ok($$ SELECT customers.register_customer('pgtap') $$, '22023', NULL, 'this is no address');
SELECT throws_ok($$ SELECT customers.update_customer('0a11ce00-0000-4000-8000-000000000001', name => 'Ann', expected_version => 7) $$,
                 'PT409', NULL, 'the customer has another version');
SELECT throws_ok($$ UPDATE customers.customers SET email = 'pgtap' WHERE email = 'pgtap@example.com' $$,
                 '22023', NULL, 'the rules hold for plain SQL');
SELECT throws_ok($$ DELETE FROM customers.customers $$, '23514', NULL, 'customers are not removed');

SELECT * FROM finish();
ROLLBACK;
