-- Existing tables that lack columns which the functions need. The parameters are the tables, columns and
-- types of src/customer/schema.rs.
SELECT wanted.table, string_agg(wanted.column || ' ' || wanted.type, ', ') AS lacks
  FROM unnest($1, $2, $3) AS wanted ("table", "column", type)
  JOIN pg_class AS relation ON relation.relname = wanted.table
                           AND relation.relnamespace = 'customers'::regnamespace
  LEFT JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
                                     AND attribute.attname = wanted.column
                                     AND NOT attribute.attisdropped
 WHERE relation.relkind <> 'r' AND NOT (relation.relkind = 'p' AND wanted.table <> 'customers')
    -- attach() adds the version to an adopted table.
    OR attribute.atttypid IS NULL AND NOT (wanted.table = 'customers' AND wanted.column = 'version')
    OR attribute.atttypid <> wanted.type::regtype
    -- timestamptz(0) would round registered_at up into the future.
    OR attribute.atttypmod <> -1
    -- A virtual generated column (PostgreSQL 18) stores nothing and cannot be indexed.
    OR attribute.attgenerated = 'v'
 GROUP BY wanted.table
 ORDER BY wanted.table
 LIMIT 1
