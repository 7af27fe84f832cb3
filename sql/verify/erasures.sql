-- Persons whom the ledger names and a restore has brought back, in their rows or in their events: whom reapply_erasures()
-- erases again.
SELECT customer_id, erasure.reason
  FROM customers.erasures AS erasure
  JOIN customers.customers AS customer USING (customer_id)
 WHERE customer.email <> 'erased+' || customer_id || '@erased.invalid' OR customer.name IS NOT NULL
    OR EXISTS (SELECT FROM customers.events AS event
                WHERE event.customer_id = erasure.customer_id
                  AND (event.changes ->> 'email' <> 'erased+' || customer_id || '@erased.invalid'
                       OR event.changes ->> 'name' IS NOT NULL))
