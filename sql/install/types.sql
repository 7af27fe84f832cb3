-- From here to finalize.sql objects are named without a schema, as pgrx generates them; nothing is called.
SET LOCAL search_path = customers, pg_temp;

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
COMMENT ON COLUMN profile.customer_id IS 'Identifies the customer';
COMMENT ON COLUMN profile.email IS 'E-mail address in canonical form';
COMMENT ON COLUMN profile.name IS 'Name; NULL when not known';
COMMENT ON COLUMN profile.status IS 'ACTIVE, SUSPENDED or CLOSED';
COMMENT ON COLUMN profile.registered_at IS 'When the customer registered';
COMMENT ON COLUMN profile.updated_at IS 'When e-mail, name or status last changed';
COMMENT ON COLUMN profile.version IS 'Counts the changes of e-mail, name and status';
