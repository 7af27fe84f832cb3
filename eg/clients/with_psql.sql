-- Customers with psql: psql CONNECTION --no-psqlrc --quiet --variable address=ADDRESS --file with_psql.sql
-- :'address' is the variable as a quoted literal. Where a refusal is expected, psql is not to stop; :SQLSTATE says which it was.
\set ON_ERROR_STOP on
\set actor 'agent 7'

SELECT * FROM customers.register_customer(' ' || upper(:'address') || ' ', 'Ann Example') \gset ann_
\echo registered: :ann_status, version :ann_version
\set ON_ERROR_STOP off
SELECT * FROM customers.register_customer(:'address');
\echo the address again: :SQLSTATE ERROR
SELECT * FROM customers.register_customer(replace(:'address', '@', '#'));
\echo no address: :SQLSTATE ERROR
SELECT * FROM customers.register_customer('x' || :'address', E'Ann\x00');
\echo a name with a NUL: :SQLSTATE ERROR
\set ON_ERROR_STOP on

SELECT * FROM customers.get_customer(:'ann_customer_id') \gset got_
\echo by id: :got_name
SELECT * FROM customers.find_customer(:'address') \gset found_
\echo by address: :found_name
SELECT * FROM customers.get_customer(gen_random_uuid()) \g /dev/null
\if :ROW_COUNT
\else
    \echo no such id: no row
\endif
SELECT * FROM customers.list_customers(page_size => 1) \g /dev/null
\echo a page: :ROW_COUNT

SELECT * FROM customers.patch_customer(:'ann_customer_id', '{"name": "Ann E. Example"}', :ann_version) \gset patched_
\echo patched: :patched_name, version :patched_version
\set ON_ERROR_STOP off
SELECT * FROM customers.update_customer(:'ann_customer_id', name => 'Bea', expected_version => :ann_version);
\echo an old version: :SQLSTATE ERROR
SELECT * FROM customers.patch_customer(gen_random_uuid(), '{"name": "Bea"}');
\echo a patch of no such id: :SQLSTATE ERROR
\set ON_ERROR_STOP on

-- The actor is forgotten when the transaction ends.
BEGIN;
SELECT set_config('customer_db.actor', :'actor', true) \g /dev/null
SELECT * FROM customers.set_status(:'ann_customer_id', 'SUSPENDED', 'fraud') \gset suspended_
COMMIT;
\echo by :actor: :suspended_status, version :suspended_version

SELECT * FROM customers.set_status(:'ann_customer_id', 'CLOSED') \gset closed_
\echo closed: :closed_status, version :closed_version
\set ON_ERROR_STOP off
SELECT * FROM customers.set_status(:'ann_customer_id', 'ACTIVE');
\echo a closed account: :SQLSTATE ERROR
SELECT * FROM customers.read_events(1000000);
\echo the feed: :SQLSTATE ERROR
