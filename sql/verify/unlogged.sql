-- Unlogged tables and sequences are empty after a crash, and on every standby.
SELECT false AS ok,
       format('%1$s is unlogged, and would be empty after a crash: ALTER %2$s %1$s SET LOGGED;', pg_class.oid::regclass,
              CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END) AS detail
  FROM pg_class
 WHERE relnamespace = to_regnamespace('customers') AND relkind IN ('r', 'S') AND relpersistence <> 'p'
 ORDER BY 2
