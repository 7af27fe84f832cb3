-- BEFORE ROW triggers that fire after the guard can write what no rule has checked. PostgreSQL fires triggers by name.
SELECT false AS ok,
       format('the trigger %I on customers.customers fires after the guard, and can write what breaks a rule: '
              'ALTER TRIGGER %I ON customers.customers RENAME TO %I;',
              tgname, tgname, left('before_' || tgname, 63)) AS detail
  FROM pg_trigger
 WHERE tgrelid = to_regclass('customers.customers') AND NOT tgisinternal
   AND tgtype & 3 = 3 AND tgtype & 20 <> 0 AND tgname > 'guard'
 ORDER BY 2
