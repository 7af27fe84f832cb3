-- Triggers of the extension that do not fire for every session, and rules, which rewrite statements before triggers fire.
SELECT false AS ok,
       format('the trigger %I on %s is not enabled as attach() enables it: ALTER TABLE %s ENABLE TRIGGER %I;',
              tgname, tgrelid::regclass, tgrelid::regclass, tgname) AS detail
  FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
 WHERE pronamespace = to_regnamespace('customers') AND NOT tgisinternal AND tgenabled <> 'O'
   AND proname IN ('guard', 'refuse_removal', 'record_registered', 'record_updated', 'keep_erasure')
UNION ALL
SELECT false,
       format('the rule %I on %s rewrites statements before the triggers fire: DROP RULE %I ON %s;',
              rulename, ev_class::regclass, rulename, ev_class::regclass)
  FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
 WHERE relnamespace = to_regnamespace('customers') AND relkind IN ('r', 'p')
   AND relname IN ('customers', 'events', 'consumers', 'erasures', 'feed_epochs')
 ORDER BY 2
