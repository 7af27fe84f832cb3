-- The sequence of positions: it must count by one without a cache, and stand at or beyond everything that was drawn.
WITH known AS (
    SELECT greatest(1, (SELECT max(position) FROM customers.events),
                       (SELECT max(position) FROM customers.consumers WHERE position < 9007199254740992),
                       (SELECT max(greatest(pruned_to, first_position - 1)) FROM customers.feed_epochs)) AS highest
)
SELECT false AS ok,
       format('the sequence stands behind the feed, so writers are refused: '
              'SELECT setval(''customers.events_position_seq'', %s);', highest) AS detail
  FROM known, customers.events_position_seq AS sequence
 WHERE CASE WHEN is_called THEN last_value ELSE last_value - 1 END < highest
   AND NOT (highest = 1 AND NOT EXISTS (SELECT FROM customers.events))
   -- Otherwise the next change begins an epoch.
   AND EXISTS (SELECT FROM customers.feed_epochs)
UNION ALL
SELECT false,
       'the sequence does not count by one without a cache: '
       'ALTER SEQUENCE customers.events_position_seq INCREMENT 1 CACHE 1 NO CYCLE MINVALUE 1 NO MAXVALUE;'
  FROM pg_sequence
 WHERE seqrelid = 'customers.events_position_seq'::regclass
   AND (seqincrement, seqcache, seqcycle, seqmin) <> (1, 1, false, 1)
UNION ALL
SELECT false,
       format('the sequence has %s positions left; %s', greatest(left_over, 0),
              CASE WHEN last_value - highest > 1000000000
                   THEN format('while no client writes and no transaction is prepared: '
                               'SELECT setval(''customers.events_position_seq'', %s);', highest)
                   WHEN seqmax < 9007199254740991
                   THEN 'it may have more: ALTER SEQUENCE customers.events_position_seq NO MAXVALUE;'
                   ELSE 'positions stay below 2^53' END)
  FROM known, pg_sequence, customers.events_position_seq,
       LATERAL (SELECT least(seqmax, 9007199254740991) - last_value AS left_over) AS positions
 WHERE seqrelid = 'customers.events_position_seq'::regclass AND left_over <= 1000000000
