-- What keeps existing tables from being used, and the statement that mends it. The parameters are the tables, columns and
-- types of src/customer/schema.rs.
SELECT relname::text AS "table", string_agg(problem, E'\n' ORDER BY place) AS problems
  FROM (SELECT relation.relname, min(wanted.place) AS place,
               CASE WHEN relation.relkind <> 'r' AND NOT (relation.relkind = 'p' AND wanted.table <> 'customers')
                    THEN format('%s is no plain table, but a %s: only a plain table can hold it.', relation.oid::regclass,
                                CASE relation.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                                                      WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table'
                                                      WHEN 'S' THEN 'sequence' ELSE 'relation of another kind' END)
                    WHEN attribute.attname IS NULL
                    THEN format('%1$s is missing: ALTER TABLE %2$s ADD COLUMN %1$s %3$s%4$s; or RENAME the column that holds it.',
                                wanted.column, relation.oid::regclass, wanted.type,
                                CASE wanted."table" || '.' || wanted.column
                                     WHEN 'customers.customer_id' THEN ' NOT NULL DEFAULT gen_random_uuid()'
                                     WHEN 'customers.status' THEN ' NOT NULL DEFAULT ''ACTIVE'''
                                     WHEN 'customers.registered_at' THEN ' NOT NULL DEFAULT now()'
                                     WHEN 'customers.updated_at' THEN ' NOT NULL DEFAULT now()'
                                     ELSE '' END)
                    WHEN attribute.attgenerated = 'v'
                    -- PostgreSQL 18: stores nothing, and cannot be indexed.
                    THEN format('%1$s is a virtual generated column: ALTER TABLE %2$s DROP COLUMN %1$s, ADD COLUMN %1$s %3$s;',
                                wanted.column, relation.oid::regclass, wanted.type)
                    WHEN wanted."table" = 'customers' AND wanted.column = 'customer_id'
                         AND attribute.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
                    THEN format('customer_id is %1$s, must be uuid, to which it cannot be converted: ALTER TABLE %2$s RENAME '
                                'customer_id TO customer_number; ALTER TABLE %2$s ADD COLUMN customer_id uuid NOT NULL '
                                'DEFAULT gen_random_uuid();',
                                format_type(attribute.atttypid, attribute.atttypmod), relation.oid::regclass)
                    ELSE format('%1$s is %2$s, must be %3$s: ALTER TABLE %4$s ALTER %1$s TYPE %3$s%5$s;', wanted.column,
                                format_type(attribute.atttypid, attribute.atttypmod), wanted.type, relation.oid::regclass,
                                CASE WHEN wanted.type = 'timestamp with time zone'
                                          AND attribute.atttypid = 'timestamp'::regtype
                                     THEN format(' USING %s AT TIME ZONE ''UTC''', wanted.column)
                                     WHEN NOT EXISTS (SELECT FROM pg_cast
                                                       WHERE castsource = attribute.atttypid
                                                         AND casttarget = wanted.type::regtype AND castcontext <> 'e')
                                          AND attribute.atttypid <> wanted.type::regtype
                                     THEN format(' USING %s::%s', wanted.column, wanted.type)
                                     ELSE '' END)
               END AS problem
          FROM unnest($1, $2, $3) WITH ORDINALITY AS wanted ("table", "column", type, place)
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
            OR attribute.attgenerated = 'v'
         GROUP BY relation.relname, problem) AS lacking
 GROUP BY relname
 ORDER BY relname
 LIMIT 1
