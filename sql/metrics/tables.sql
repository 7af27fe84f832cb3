-- Measures of the tables. A table of less than 8 MB is counted; of a larger one PostgreSQL's estimate is taken, which
-- VACUUM and ANALYZE renew. Continues a WITH that defines `backlog`, sql/metrics/backlog.sql. $1: the feed is complete up
-- to here, NULL on a standby; $2: up to which position the worker has sent, NULL if none serves this database.
feed (relid) AS (
    SELECT 'customers.events'::regclass
    UNION
    SELECT relid FROM pg_partition_tree('customers.events')
), large (customers, events, erasures) AS (
    SELECT pg_relation_size('customers.customers') > 8388608,
           (SELECT sum(pg_relation_size(relid)) FROM feed) > 8388608,
           pg_relation_size('customers.erasures') > 8388608
), size (customers, events, erasures) AS (
    SELECT CASE WHEN large.customers THEN (SELECT reltuples::float8 FROM pg_class WHERE oid = 'customers.customers'::regclass)
                ELSE (SELECT count(*) FROM customers.customers) END,
           CASE WHEN large.events THEN (SELECT sum(reltuples::float8) FROM feed JOIN pg_class ON oid = relid
                                     WHERE relkind = 'r' AND reltuples > 0)
                ELSE (SELECT count(*) FROM customers.events) END,
           CASE WHEN large.erasures THEN (SELECT reltuples::float8 FROM pg_class WHERE oid = 'customers.erasures'::regclass)
                ELSE (SELECT count(*) FROM customers.erasures) END
      FROM large
), frequency (status, share) AS (
    SELECT value, share::float8
      FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs) AS common (value, share)
     WHERE schemaname = 'customers' AND tablename = 'customers' AND attname = 'status'
)
SELECT name, labels::jsonb, value::float8 FROM (
SELECT 'customer_db_customers', jsonb_build_object('status', status),
       CASE WHEN large.customers THEN greatest(size.customers, 0) * coalesce((SELECT share FROM frequency
                                                                  WHERE frequency.status = wanted.status), 0)
            ELSE (SELECT count(*) FROM customers.customers WHERE customers.status = wanted.status) END
  FROM size, large, unnest(ARRAY['ACTIVE', 'SUSPENDED', 'CLOSED']) AS wanted (status)
UNION ALL
SELECT 'customer_db_customers_bytes', '{}', pg_total_relation_size('customers.customers')
UNION ALL
SELECT 'customer_db_erasures', '{}', greatest(erasures, 0) FROM size
UNION ALL
SELECT 'customer_db_feed_events', '{}', greatest(events, 0) FROM size
UNION ALL
SELECT 'customer_db_feed_bytes', '{}', sum(pg_total_relation_size(relid)) FROM feed
UNION ALL
SELECT 'customer_db_feed_last_position', '{}', coalesce(max(position), 0) FROM customers.events
UNION ALL
SELECT 'customer_db_feed_complete_to_position', '{}', $1 WHERE $1 IS NOT NULL
UNION ALL
SELECT 'customer_db_feed_pruned_to_position', '{}', coalesce(max(pruned_to), 0) FROM customers.feed_epochs
UNION ALL
SELECT 'customer_db_feed_epochs', '{}', count(*) FROM customers.feed_epochs
UNION ALL
SELECT 'customer_db_feed_epoch_began_timestamp_seconds', '{}', extract(epoch FROM max(began_at))
  FROM customers.feed_epochs HAVING count(*) > 0
UNION ALL
SELECT 'customer_db_worker_sent_position', '{}', $2 WHERE $2 IS NOT NULL
UNION ALL
SELECT name, jsonb_build_object('consumer', consumer), value
  FROM backlog,
       LATERAL (VALUES ('customer_db_consumer_position', position),
                       ('customer_db_consumer_unread_events', unread),
                       ('customer_db_consumer_unread_seconds',
                        greatest(extract(epoch FROM clock_timestamp() - since), 0))) AS of_consumer (name, value)
) AS measure (name, labels, value)
