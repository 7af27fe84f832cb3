-- Tables that are there and are not what the functions work with: which, and what they lack.
SELECT wanted.table, string_agg(wanted.column || ' ' || wanted.type, ', ') AS lacks
  FROM (VALUES
        ('customers', 'customer_id',     'uuid'),
        ('customers', 'email',           'text'),
        ('customers', 'name',            'text'),
        ('customers', 'status',          'text'),
        ('customers', 'registered_at',   'timestamptz'),
        ('customers', 'updated_at',      'timestamptz'),
        ('customers', 'version',         'bigint'),
        ('events',    'position',        'bigint'),
        ('events',    'event_id',        'uuid'),
        ('events',    'type',            'text'),
        ('events',    'customer_id',     'uuid'),
        ('events',    'version',         'bigint'),
        ('events',    'occurred_at',     'timestamptz'),
        ('events',    'changes',         'jsonb'),
        ('events',    'recorded_by',     'text'),
        ('events',    'actor',           'text'),
        ('events',    'reason',          'text'),
        ('events',    'announce',        'boolean'),
        ('consumers', 'consumer',        'text'),
        ('consumers', 'position',        'bigint'),
        ('consumers', 'acknowledged_at', 'timestamptz'),
        ('erasures',  'customer_id',     'uuid'),
        ('erasures',  'erased_at',       'timestamptz'),
        ('erasures',  'erased_by',       'text'),
        ('erasures',  'reason',          'text')) AS wanted ("table", "column", type)
  JOIN pg_class AS relation ON relation.relname = wanted.table
                           AND relation.relnamespace = 'customers'::regnamespace
  LEFT JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
                                     AND attribute.attname = wanted.column
                                     AND NOT attribute.attisdropped
 WHERE relation.relkind <> 'r' AND NOT (relation.relkind = 'p' AND wanted.table <> 'customers')
    -- A table that is adopted gets its version.
    OR attribute.atttypid IS NULL AND NOT (wanted.table = 'customers' AND wanted.column = 'version')
    OR attribute.atttypid <> wanted.type::regtype
    -- timestamptz(0) would round registered_at into the future.
    OR attribute.atttypmod <> -1
 GROUP BY wanted.table
 ORDER BY wanted.table
 LIMIT 1
