-- Indexes that a failed CREATE INDEX CONCURRENTLY has left behind. While an index of the same table is being built none is
-- named: the one that is being built looks like them.
SELECT false AS ok,
       format('the index %1$s is not valid: REINDEX INDEX %1$s;', indexrelid::regclass) AS detail
  FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
 WHERE relnamespace = to_regnamespace('customers') AND relkind = 'r' AND NOT (indisvalid AND indisready)
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS building WHERE building.relid = indrelid)
 ORDER BY 2
