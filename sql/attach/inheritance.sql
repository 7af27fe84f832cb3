-- A statement on a parent, a child or a partitioned table writes rows without firing the statement
-- triggers. The feed may itself be partitioned: row triggers on it refuse changes.
DO $inheritance$
DECLARE
    tied regclass;
BEGIN
    SELECT relation.oid INTO tied
      FROM pg_class AS relation
      JOIN pg_inherits ON relation.oid = inhrelid OR relation.oid = inhparent AND relation.relkind = 'r'
     WHERE relation.relnamespace = 'customers'::regnamespace
       AND relation.relname IN ('customers', 'events', 'consumers', 'erasures', 'feed_epochs')
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('%s is a parent, a child or a partition of another table', tied),
            HINT    = 'Take it out with ALTER TABLE … NO INHERIT or DETACH PARTITION, and attach again.';
    END IF;

    SELECT relation.oid INTO tied
      FROM pg_class AS relation
     WHERE relation.relnamespace = 'customers'::regnamespace
       AND relation.relname IN ('customers', 'events', 'consumers', 'erasures', 'feed_epochs')
       AND relation.relpersistence <> 'p'
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('%s is unlogged, and would be empty after a crash', tied),
            HINT    = format('ALTER TABLE %s SET LOGGED, and attach again.', tied);
    END IF;
END
$inheritance$;
