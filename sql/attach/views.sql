CREATE OR REPLACE VIEW customers.customers_masked AS
SELECT customer_id,
       left(email, 1) || '•••@' || split_part(email, '@', 2) AS email,
       left(name, 1) || '•••' AS name,
       status,
       registered_at,
       updated_at,
       version
  FROM customers.customers;

COMMENT ON VIEW customers.customers_masked IS 'Customers as support sees them: enough to recognise one, too little to copy.';
COMMENT ON COLUMN customers.customers_masked.customer_id IS 'Identifies the customer';
COMMENT ON COLUMN customers.customers_masked.email IS 'First character and domain of the address';
COMMENT ON COLUMN customers.customers_masked.name IS 'First character of the name';
COMMENT ON COLUMN customers.customers_masked.status IS 'ACTIVE, SUSPENDED or CLOSED';
COMMENT ON COLUMN customers.customers_masked.registered_at IS 'When the customer registered';
COMMENT ON COLUMN customers.customers_masked.updated_at IS 'When e-mail, name or status last changed';
COMMENT ON COLUMN customers.customers_masked.version IS 'Counts the changes of e-mail, name and status';

REVOKE ALL ON customers.customers_masked FROM PUBLIC;
