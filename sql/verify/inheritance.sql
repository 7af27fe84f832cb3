-- A statement on a parent, a child or a partitioned table writes rows without firing the statement triggers.
SELECT false AS ok,
       CASE WHEN inhrelid = relation.oid
            THEN format('%1$s inherits from %2$s: ALTER TABLE %3$s;', relation.oid::regclass, inhparent::regclass,
                        CASE WHEN relispartition THEN format('%s DETACH PARTITION %s', inhparent::regclass, relation.oid::regclass)
                             ELSE format('%s NO INHERIT %s', relation.oid::regclass, inhparent::regclass) END)
            ELSE format('%1$s inherits from %2$s: ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass,
                        relation.oid::regclass) END AS detail
  FROM pg_class AS relation
  JOIN pg_inherits ON relation.oid = inhrelid OR relation.oid = inhparent AND relation.relkind = 'r'
 WHERE relation.relnamespace = to_regnamespace('customers')
   AND relation.relname IN ('customers', 'events', 'consumers', 'erasures', 'feed_epochs')
 ORDER BY 2
