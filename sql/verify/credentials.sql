-- Columns whose names say that they hold credentials: those belong to the identity provider.
SELECT false AS ok,
       format('the column %1$s.%2$I has the name of a credential. If it holds one, that belongs to the identity provider: '
              'ALTER TABLE %1$s DROP COLUMN %2$I;', attrelid::regclass, attname) AS detail
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
 WHERE relnamespace = to_regnamespace('customers') AND relkind IN ('r', 'p') AND NOT relispartition
   AND attnum > 0 AND NOT attisdropped
   AND attname ~* '(^|_)(pass|passwd|password|passwort|passphrase|pwd|secret|credential|credentials|salt|pin|otp|totp|mfa|token|api_?key|private_?key)(_|$|hash)|password|passwd'
 ORDER BY 2
