-- The relations that exist before anything is created, for privileges.sql.
SELECT set_config('customer_db_attach.known', coalesce(string_agg(oid::text, ','), ''), true)
  FROM pg_class
 WHERE relnamespace = 'customers'::regnamespace;
