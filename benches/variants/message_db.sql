--- like bare
-- The bare table and message-db, a message store in PL/pgSQL: a message in the transaction of each change.
-- Its functions name its objects without the schema.
ALTER DATABASE message_db SET search_path = public, message_store;
--- fill
INSERT INTO customers (customer_id, email, name)
SELECT md5(n::text)::uuid, 'c' || n || '@example.com', 'Customer Name' FROM generate_series(:from, :to) AS n;
INSERT INTO message_store.messages (id, stream_name, type, position, data)
SELECT gen_random_uuid(), 'customer-' || customer_id, 'customer-registered', 0,
       jsonb_build_object('eventId', gen_random_uuid(), 'occurredAt', registered_at, 'version', version, 'customer',
           jsonb_build_object('customerId', customer_id, 'email', email, 'name', name, 'status', status))
  FROM customers;
--- register
WITH customer AS (
    INSERT INTO customers (email, name) VALUES ('r' || :r || '@example.com', 'Customer Name') RETURNING *
)
SELECT *, message_store.write_message(gen_random_uuid()::text, 'customer-' || customer_id, 'customer-registered',
    jsonb_build_object('email', email, 'name', name, 'status', status, 'version', version)) FROM customer;
--- update
WITH customer AS (
    UPDATE customers SET name = 'Name ' || :r, updated_at = now(), version = version + 1
     WHERE customer_id = md5(:n::text)::uuid RETURNING *
)
SELECT *, message_store.write_message(gen_random_uuid()::text, 'customer-' || customer_id, 'customer-updated',
    jsonb_build_object('name', name, 'version', version)) FROM customer;
--- set_status
WITH customer AS (
    UPDATE customers SET status = CASE status WHEN 'ACTIVE' THEN 'SUSPENDED' ELSE 'ACTIVE' END, updated_at = now(), version = version + 1
     WHERE customer_id = md5(:n::text)::uuid RETURNING *
)
SELECT *, message_store.write_message(gen_random_uuid()::text, 'customer-' || customer_id, 'customer-updated',
    jsonb_build_object('status', status, 'version', version)) FROM customer;
--- feed
SELECT global_position + 1, 0::bigint, data FROM message_store.get_category_messages('customer', $1::bigint, 1000);
