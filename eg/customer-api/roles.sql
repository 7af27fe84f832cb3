-- The login roles of the API and of the publisher. Nobody else gets their duties.
CREATE ROLE customer_api LOGIN;
SELECT customers.grant_access('customer_api', 'writer');
-- A request ends, also one whose client has gone: the API answers 503, and the connection is free again.
ALTER ROLE customer_api SET statement_timeout = '5s';
ALTER ROLE customer_api SET idle_in_transaction_session_timeout = '5s';

CREATE ROLE customer_publisher LOGIN;
SELECT customers.grant_access('customer_publisher', duty) FROM unnest(ARRAY['consumer', 'reader']) AS duty;
