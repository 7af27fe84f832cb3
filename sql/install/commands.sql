CREATE FUNCTION register_customer(email text, name text DEFAULT NULL, customer_id uuid DEFAULT NULL)
    RETURNS profile
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_customer_wrapper';
COMMENT ON FUNCTION register_customer(text, text, uuid) IS
'Registers a customer and returns it.
email: the address, in any spelling; name: optional; customer_id: makes a retry safe: the same id, e-mail and name again return the customer and record nothing.
Refuses with 22021 (a text that is not UTF-8), 22023 (e-mail or name breaks its rule), 23505 (the address or the id is taken), 25006 (nothing may be written here), 55000 (the rules are not in force).';

CREATE FUNCTION update_customer(customer_id uuid, email text DEFAULT NULL, name text DEFAULT NULL,
                                status text DEFAULT NULL, expected_version bigint DEFAULT NULL)
    RETURNS profile
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'update_customer_wrapper';
COMMENT ON FUNCTION update_customer(uuid, text, text, text, bigint) IS
'Changes the fields that are given and returns the customer; NULL leaves a field as it is.
customer_id: whom; email, name, status: the new values; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (a value breaks its rule), 23505 (the address is taken), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';

CREATE FUNCTION patch_customer(customer_id uuid, patch jsonb, expected_version bigint DEFAULT NULL)
    RETURNS profile
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'patch_customer_wrapper';
COMMENT ON FUNCTION patch_customer(uuid, jsonb, bigint) IS
'Applies a JSON merge patch (RFC 7396) to email, name and status and returns the customer.
customer_id: whom; patch: an object, an absent field stays, null clears the name; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (empty patch, unknown field, wrong type, a value breaks its rule), 23505 (the address is taken), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';

CREATE FUNCTION set_status(customer_id uuid, status text, reason text DEFAULT NULL,
                           expected_version bigint DEFAULT NULL)
    RETURNS profile
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_status_wrapper';
COMMENT ON FUNCTION set_status(uuid, text, text, bigint) IS
'Moves the account to a status and returns the customer; the status it already has is a success that records nothing.
customer_id: whom; status: ACTIVE, SUSPENDED or CLOSED; reason: kept in the history, at most 1000 characters; expected_version: refuse unless this is the current version.
Refuses with 22021 (a text that is not UTF-8), 22023 (unknown status), 23514 (the account is closed), 25006 (nothing may be written here), 55000 (the rules are not in force, or a statement that writes this customer has not ended), PT404 (no such customer), PT409 (another version).';

CREATE FUNCTION import_customers(customers jsonb)
    RETURNS TABLE (ordinal int, customer_id uuid, outcome text, sqlstate text, message text)
    LANGUAGE c VOLATILE ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'import_customers_wrapper';
COMMENT ON FUNCTION import_customers(jsonb) IS
'Registers many customers with one statement; answers one row for each, and bad ones do not stop the good ones.
customers: an array of at most 100,000 objects with email and, where known, name, customerId, status and registeredAt (RFC 3339).
outcome: registered; exists (this address, with this id where one was given, was there); refused, with sqlstate and message.
Refuses with 22021 (a text that is not UTF-8), 22023 (not an array, too many elements), 25006 (nothing may be written here), 55000 (the rules are not in force).';
