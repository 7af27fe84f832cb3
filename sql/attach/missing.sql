-- What attach() would create or restore: one row for each object that is missing or is not as attach() makes it.
-- Looks at the catalogue alone. $1 is the OID of customers.customers, NULL if there is none. The second column is true for
-- what verify() needs to read the tables.
WITH wanted_trigger ("table", name, function, type, old_rows, new_rows) AS (
    -- type: a combination of the TRIGGER_TYPE_… flags of pg_trigger.h.
    VALUES ('customers', 'guard', 'guard', 23, NULL, NULL),
           ('customers', 'refuse_removal', 'refuse_removal', 42, NULL, NULL),
           ('customers', 'refuse_removal_of_row', 'refuse_removal', 11, NULL, NULL),
           ('customers', 'record_registered', 'record_registered', 4, NULL, 'registered'),
           ('customers', 'record_updated', 'record_updated', 16, 'before', 'after'),
           ('events', 'refuse_removal', 'refuse_removal', 58, NULL, NULL),
           ('events', 'refuse_removal_of_row', 'refuse_removal', 27, NULL, NULL),
           ('erasures', 'keep_erasure', 'keep_erasure', 7, NULL, NULL)
)
SELECT format('the %s customers.%s is missing', kind, name) AS problem, kind IN ('table', 'sequence') AS is_needed
  FROM (VALUES ('table', 'r', 'customers'), ('table', 'rp', 'events'), ('table', 'r', 'consumers'),
               ('table', 'r', 'erasures'), ('table', 'r', 'feed_epochs'), ('sequence', 'S', 'events_position_seq'),
               ('sequence', 'S', 'feed_read_seq'), ('table', 'r', 'duty_marks'), ('view', 'v', 'customers_masked'),
               ('index', 'iI', 'idx_customers_status'), ('index', 'iI', 'idx_events_customer')) AS wanted (kind, kinds, name)
 WHERE NOT EXISTS (SELECT FROM pg_class
                    WHERE relnamespace = to_regnamespace('customers') AND relname = wanted.name
                      AND position(relkind::text IN wanted.kinds) > 0)
UNION ALL
SELECT format('the trigger %s on customers.%s is missing, disabled or another one', wanted.name, wanted."table"), false
  FROM wanted_trigger AS wanted
 WHERE to_regclass('customers.' || wanted."table") IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_trigger
                    WHERE tgrelid = to_regclass('customers.' || wanted."table") AND tgname = wanted.name
                      AND tgfoid = to_regprocedure('customers.' || wanted.function || '()')
                      AND tgtype = wanted.type AND tgenabled = 'O' AND tgqual IS NULL AND tgattr = ''
                      AND (tgoldtable, tgnewtable) IS NOT DISTINCT FROM (wanted.old_rows, wanted.new_rows)
                      -- By which Citus recognises a table that it must not distribute.
                      AND (wanted.function <> 'refuse_removal'
                           OR EXISTS (SELECT FROM pg_depend
                                       WHERE classid = 'pg_trigger'::regclass AND objid = pg_trigger.oid
                                         AND refclassid = 'pg_extension'::regclass AND deptype = 'x')))
UNION ALL
SELECT format('the trigger refuse_removal on the partition %s is missing or disabled', relid), false
  FROM pg_partition_tree(to_regclass('customers.events'))
 WHERE parentrelid IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_trigger
                    WHERE tgrelid = relid AND tgname = 'refuse_removal' AND tgtype = 58 AND tgenabled = 'O'
                      AND tgfoid = to_regprocedure('customers.refuse_removal()'))
UNION ALL
SELECT format('the column customers.customers.%s has no default', attname), false
  FROM pg_attribute
 WHERE attrelid = $1 AND NOT atthasdef
   AND attname IN ('customer_id', 'status', 'registered_at', 'updated_at', 'version')
UNION ALL
SELECT format('the column customers.customers.%s may be NULL', attname), false
  FROM pg_attribute
 WHERE attrelid = $1 AND NOT attnotnull
   AND attname IN ('customer_id', 'email', 'status', 'registered_at', 'updated_at', 'version')
UNION ALL
SELECT 'the column customers.customers.version is missing', true
 WHERE $1 IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1 AND attname = 'version' AND NOT attisdropped)
UNION ALL
SELECT 'the column customers.customers.email has another collation than "C"', false
  FROM pg_attribute
 WHERE attrelid = $1 AND attname = 'email' AND attcollation <> 'pg_catalog."C"'::regcollation
UNION ALL
SELECT format('no valid unique index of customers.customers is on %s alone', attname), false
  FROM pg_attribute
 WHERE attrelid = $1 AND attname IN ('customer_id', 'email')
   AND NOT EXISTS (SELECT FROM pg_index
                    WHERE indrelid = $1 AND indkey[0] = attnum AND indnkeyatts = 1
                      AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL)
UNION ALL
SELECT 'customers.customers has no CHECK on status', false
 WHERE $1 IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = $1 AND contype = 'c'
                      AND conkey = ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname = 'status'))
UNION ALL
SELECT 'the owner of customers.customers may not call broken_rule()', true
  FROM pg_class
 WHERE oid = $1
   AND NOT (has_schema_privilege(relowner, 'customers', 'USAGE')
            AND has_function_privilege(relowner, 'customers.broken_rule(text, text, text)', 'EXECUTE'))
