-- What attach() would create or restore: one row for each object that is missing or is not as attach() makes it.
-- Looks at the catalogue alone. $1 is the OID of customers.customers, NULL if there is none. The second column says what
-- follows: 'unreadable', the tables cannot be read without it; 'exclusive', readers wait while it is mended; else 'shared'.
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
SELECT format('the %s customers.%s is missing', kind, name) AS problem,
       CASE WHEN kind IN ('table', 'sequence') AND name <> 'duty_marks' THEN 'unreadable' ELSE 'shared' END AS effect
  FROM (VALUES ('table', 'r', 'customers'), ('table', 'rp', 'events'), ('table', 'rp', 'consumers'),
               ('table', 'rp', 'erasures'), ('table', 'rp', 'feed_epochs'), ('sequence', 'S', 'events_position_seq'),
               ('sequence', 'S', 'feed_read_seq'), ('table', 'r', 'duty_marks'), ('view', 'v', 'customers_masked'),
               ('index', 'iI', 'idx_customers_status'), ('index', 'iI', 'idx_events_customer')) AS wanted (kind, kinds, name)
 WHERE NOT EXISTS (SELECT FROM pg_class
                    WHERE relnamespace = to_regnamespace('customers') AND relname = wanted.name
                      AND position(relkind::text IN wanted.kinds) > 0)
UNION ALL
SELECT format('the trigger %s on customers.%s is missing, disabled or another one', wanted.name, wanted."table"),
       -- ALTER TRIGGER … DEPENDS ON EXTENSION takes an exclusive lock.
       CASE wanted.function WHEN 'refuse_removal' THEN 'exclusive' ELSE 'shared' END
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
SELECT format('the trigger refuse_removal on the partition %s is missing or disabled', relid), 'shared'
  FROM pg_partition_tree(to_regclass('customers.events'))
 WHERE parentrelid IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_trigger
                    WHERE tgrelid = relid AND tgname = 'refuse_removal' AND tgtype = 58 AND tgenabled = 'O'
                      AND tgqual IS NULL
                      AND tgfoid = to_regprocedure('customers.refuse_removal()'))
UNION ALL
SELECT format('the column customers.customers.%s has no default', attname), 'exclusive'
  FROM pg_attribute
 WHERE attrelid = $1 AND NOT atthasdef
   AND attname IN ('customer_id', 'status', 'registered_at', 'updated_at', 'version')
UNION ALL
SELECT format('the column customers.customers.%s may be NULL', attname), 'exclusive'
  FROM pg_attribute
 WHERE attrelid = $1 AND NOT attnotnull
   AND attname IN ('customer_id', 'email', 'status', 'registered_at', 'updated_at', 'version')
UNION ALL
SELECT 'the column customers.customers.version is missing', 'unreadable'
 WHERE $1 IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1 AND attname = 'version' AND NOT attisdropped)
UNION ALL
SELECT 'the column customers.customers.email has another collation than "C"', 'exclusive'
  FROM pg_attribute
 WHERE attrelid = $1 AND attname = 'email' AND attcollation <> 'pg_catalog."C"'::regcollation
UNION ALL
SELECT format('no valid unique index of customers.customers is on %s alone', attname), 'exclusive'
  FROM pg_attribute
 WHERE attrelid = $1 AND attname IN ('customer_id', 'email')
   AND NOT EXISTS (SELECT FROM pg_index
                    WHERE indrelid = $1 AND indkey[0] = attnum AND indnkeyatts = 1
                      AND indisunique AND indisvalid AND indpred IS NULL)
UNION ALL
SELECT 'customers.customers has no CHECK on status', 'exclusive'
 WHERE $1 IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = $1 AND contype = 'c'
                      AND conkey = ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname = 'status'))
UNION ALL
SELECT 'the owner of customers.customers may not call broken_rule()', 'unreadable'
  FROM pg_class
 WHERE oid = $1
   AND NOT (has_schema_privilege(relowner, 'customers', 'USAGE')
            AND has_function_privilege(relowner, 'customers.broken_rule(text, text, text)', 'EXECUTE'))
UNION ALL
SELECT format('the key %I is deferrable: ALTER TABLE customers.customers DROP CONSTRAINT %I, ADD %s; SELECT customers.attach();',
              conname, conname, regexp_replace(pg_get_constraintdef(oid), ' DEFERRABLE.*$', '')), 'exclusive'
  FROM pg_constraint
 WHERE conrelid = $1 AND contype IN ('p', 'u') AND condeferrable
   AND conkey && ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname IN ('customer_id', 'email'))
UNION ALL
SELECT 'customers.idx_customers_status is not the index on status: ALTER TABLE customers.idx_customers_status '
       'RENAME TO idx_customers_status_other; SELECT customers.attach();', 'shared'
  FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
 WHERE relnamespace = to_regnamespace('customers') AND relname = 'idx_customers_status' AND $1 IS NOT NULL
   AND (indrelid, indkey[0]) IS DISTINCT FROM
       ($1, (SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname = 'status'))
UNION ALL
SELECT 'customers.customers has no primary key', 'exclusive'
 WHERE $1 IS NOT NULL AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND contype = 'p')
UNION ALL
SELECT 'customers.idx_events_customer is not the index on customer_id and version: ALTER TABLE customers.idx_events_customer '
       'RENAME TO idx_events_customer_other; SELECT customers.attach();', 'shared'
  FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
 WHERE relnamespace = to_regnamespace('customers') AND relname = 'idx_events_customer'
   AND to_regclass('customers.events') IS NOT NULL
   AND (indrelid = to_regclass('customers.events') AND indkey[0] = (SELECT attnum FROM pg_attribute
                                                                     WHERE attrelid = indrelid AND attname = 'customer_id')) IS NOT TRUE
UNION ALL
-- A view that shows other columns, or more of them. Major versions print parentheses and qualified names differently.
SELECT 'the view customers.customers_masked is another one', 'shared'
  FROM pg_class
 WHERE relnamespace = to_regnamespace('customers') AND relname = 'customers_masked' AND relkind = 'v'
   AND regexp_replace(pg_get_viewdef(oid), '[()[:space:]"]|customers[.]', '', 'g') <>
       'SELECTcustomer_id,leftemail,1||''•••@''::text||split_partemail,''@''::text,2ASemail,leftname,1||''•••''::textASname,'
       'status,registered_at,updated_at,versionFROMcustomers;'
UNION ALL
SELECT format('the table customers.duty_marks has no column %s', duty), 'shared'
  FROM unnest(ARRAY['writer', 'reader', 'support', 'consumer', 'auditor', 'privacy', 'operator']) AS duty
 WHERE to_regclass('customers.duty_marks') IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_attribute
                    WHERE attrelid = to_regclass('customers.duty_marks') AND attname = duty AND NOT attisdropped)
