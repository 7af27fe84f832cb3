-- Both run with their caller's rights: a role that may not grant a privilege with GRANT may not grant it here.
CREATE FUNCTION grant_access(role regrole, duty text)
    RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'grant_access_wrapper';
COMMENT ON FUNCTION grant_access(regrole, text) IS
'Gives an existing role what one duty needs, and nothing else.
role: to whom; duty: writer, reader, support, consumer, auditor, privacy or operator.
Refuses with 22021 (a duty or a role''s name that is not UTF-8), 22023 (no such role or duty), 25006 (nothing may be written here), 42501 (not the owner''s to grant), 55000 (ALTER EXTENSION customer_db UPDATE is due).';

CREATE FUNCTION revoke_access(role regrole, duty text)
    RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'revoke_access_wrapper';
COMMENT ON FUNCTION revoke_access(regrole, text) IS
'Takes from a role what grant_access() gave it for a duty, and leaves what its other duties need.
role: from whom; duty: writer, reader, support, consumer, auditor, privacy or operator.
Refuses with 22021 (a duty or a role''s name that is not UTF-8), 22023 (no such role or duty), 25006 (nothing may be written here), 42501 (not the owner''s to revoke), 55000 (ALTER EXTENSION customer_db UPDATE is due).';

CREATE FUNCTION duties()
    RETURNS TABLE (role text, duty text, complete boolean)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'duties_wrapper';
COMMENT ON FUNCTION duties() IS
'Which role was given which duty, and whether it holds all privileges of it: not after DROP EXTENSION … CASCADE or a restore without the extension, which lose those on functions. What a role inherits from another is not listed.
Refuses nothing.';
