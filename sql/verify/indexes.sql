-- Indexes that a failed CREATE INDEX CONCURRENTLY has left behind.
SELECT false AS ok,
       format('the index %1$s is not valid: REINDEX INDEX %1$s;', indexrelid::regclass) AS detail
  FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
 WHERE relnamespace = to_regnamespace('customers') AND relkind = 'r' AND NOT (indisvalid AND indisready)
 ORDER BY 2
