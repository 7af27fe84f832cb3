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

-- grant_access() marks a duty by REFERENCES on the column of its name, which permits nothing: no foreign key can reference
-- a view. Unlike privileges on functions, the marks are in every dump of the schema and outlive the extension.
CREATE OR REPLACE VIEW customers.duty_marks AS
SELECT NULL::boolean AS writer,
       NULL::boolean AS reader,
       NULL::boolean AS support,
       NULL::boolean AS consumer,
       NULL::boolean AS auditor,
       NULL::boolean AS privacy,
       NULL::boolean AS operator
 WHERE false;

COMMENT ON VIEW customers.duty_marks IS 'Marks duties: a role that holds REFERENCES on a column was given the duty of its name. Has no rows; see customers.duties().';
COMMENT ON COLUMN customers.duty_marks.writer IS 'Marks the duty writer';
COMMENT ON COLUMN customers.duty_marks.reader IS 'Marks the duty reader';
COMMENT ON COLUMN customers.duty_marks.support IS 'Marks the duty support';
COMMENT ON COLUMN customers.duty_marks.consumer IS 'Marks the duty consumer';
COMMENT ON COLUMN customers.duty_marks.auditor IS 'Marks the duty auditor';
COMMENT ON COLUMN customers.duty_marks.privacy IS 'Marks the duty privacy';
COMMENT ON COLUMN customers.duty_marks.operator IS 'Marks the duty operator';

REVOKE ALL ON customers.duty_marks FROM PUBLIC;
