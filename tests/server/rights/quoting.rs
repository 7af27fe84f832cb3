//! Promise: duties are granted and revoked whatever the session's settings say about quoting.

use crate::kit::{database, grants, role};

const DUTIES: [&str; 7] =
    ["writer", "reader", "support", "consumer", "auditor", "privacy", "operator"];

#[test]
fn what_is_granted_and_revoked_does_not_depend_on_quote_all_identifiers() {
    let database = database();
    let mut plain = database.connect();
    let mut quoting = database.connect();
    quoting.batch_execute("SET quote_all_identifiers = on").unwrap();
    for duty in DUTIES {
        let wanted = {
            let role = role(&mut plain, "");
            let grant = format!("SELECT customers.grant_access('{role}', '{duty}')");
            plain.batch_execute(&grant).unwrap();
            grants(&mut plain, &role)
        };
        assert!(!wanted.is_empty());
        for (granting, revoking) in [("on", "on"), ("on", "off"), ("off", "on")] {
            let role = role(&mut plain, "");
            for (function, setting, left) in
                [("grant", granting, &wanted[..]), ("revoke", revoking, &[])]
            {
                quoting
                    .batch_execute(&format!(
                        "SET quote_all_identifiers = {setting};
                         SELECT customers.{function}_access('{role}', '{duty}')"
                    ))
                    .unwrap();
                assert_eq!(grants(&mut plain, &role), left, "{function} {duty}, quoting {setting}");
            }
        }
    }
}

#[test]
fn revoking_while_everything_is_quoted_leaves_the_other_duty_and_what_was_granted_by_hand() {
    let database = database();
    let mut plain = database.connect();
    let role = role(&mut plain, "");
    plain
        .batch_execute(&format!(
            "SELECT customers.grant_access('{role}', 'reader');
             GRANT SELECT (position) ON customers.events TO {role}"
        ))
        .unwrap();
    let before = grants(&mut plain, &role);
    database
        .connect()
        .batch_execute(&format!(
            "SET quote_all_identifiers = on;
             SELECT customers.grant_access('{role}', 'writer');
             SELECT customers.revoke_access('{role}', 'writer');
             SELECT customers.revoke_access('{role}', 'auditor')"
        ))
        .unwrap();
    assert_eq!(grants(&mut plain, &role), before);
}
