CREATE TYPE profile AS (
    customer_id   uuid,
    email         text,
    name          text,
    status        text,
    registered_at timestamptz,
    updated_at    timestamptz,
    version       bigint
);
COMMENT ON TYPE profile IS 'A customer as functions return it: the columns of customers.customers.';
