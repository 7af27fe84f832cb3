-- Triggers of the extension that do not fire for every session.
SELECT false AS ok,
       format('the trigger %I on %s is not enabled as attach() enables it: ALTER TABLE %s ENABLE TRIGGER %I;',
              tgname, tgrelid::regclass, tgrelid::regclass, tgname) AS detail
  FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
 WHERE pronamespace = to_regnamespace('customers') AND NOT tgisinternal AND tgenabled <> 'O'
   AND proname IN ('guard', 'refuse_removal', 'record_registered', 'record_updated', 'keep_erasure')
 ORDER BY 2
