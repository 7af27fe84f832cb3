//! Promise: registered_at is a past moment since 1900, by a clock that may be ten seconds off; an import
//! takes it as RFC 3339 writes it.

use crate::kit::{address, assert_refused, contents, database, one};
use postgres::Client;
use serde_json::json;

const INSERT: &str = "INSERT INTO customers.customers (email, registered_at) VALUES ($1, ";

/// Imports a customer with a moment as text; returns the outcome, or the SQLSTATE of the refusal.
fn import(client: &mut Client, moment: &str) -> String {
    let batch = json!([{"email": address(), "registeredAt": moment}]);
    let query = "SELECT coalesce(sqlstate, outcome) FROM customers.import_customers($1)";
    one(client, query, &[&batch])
}

/// The moment that the last import stored, in a form that [`import`] accepts.
fn imported(client: &mut Client) -> String {
    one(
        client,
        "SELECT to_char(registered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
           FROM customers.customers JOIN customers.events USING (customer_id)
          ORDER BY position DESC LIMIT 1",
        &[],
    )
}

#[test]
fn a_clock_that_is_up_to_ten_seconds_ahead_means_now() {
    let mut client = database().connect();
    for ahead in ["1 microsecond", "1 second", "5 seconds", "9 seconds"] {
        let insert = format!(
            "{INSERT} clock_timestamp() + interval '{ahead}')
             RETURNING registered_at BETWEEN now() AND clock_timestamp()"
        );
        assert!(one::<bool>(&mut client, &insert, &[&address()]), "{ahead}");
    }
    let ahead: String = one(
        &mut client,
        "SELECT to_char((clock_timestamp() + interval '5 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        &[],
    );
    assert_eq!(import(&mut client, &ahead), "registered");
    let now: bool = one(
        &mut client,
        "SELECT max(registered_at) <= clock_timestamp() FROM customers.customers",
        &[],
    );
    assert!(now, "nobody was registered in the future");
}

/// Compared with the clock, not with the beginning of the transaction.
#[test]
fn a_moment_that_passed_since_the_transaction_began_is_kept() {
    let mut client = database().connect();
    let mut transaction = client.transaction().unwrap();
    let kept: bool = one(
        &mut transaction,
        "WITH given AS MATERIALIZED (SELECT clock_timestamp() AS moment),
              stored AS (INSERT INTO customers.customers (email, registered_at)
                         SELECT $1, moment FROM given RETURNING registered_at)
         SELECT moment > now() AND registered_at = moment FROM given, stored",
        &[&address()],
    );
    assert!(kept);
}

#[test]
fn a_moment_further_ahead_is_refused() {
    let mut client = database().connect();
    let before = contents(&mut client);
    for moment in [
        "clock_timestamp() + interval '30 seconds'",
        "now() + interval '1 day'",
        "'9999-01-01'",
        "'infinity'",
    ] {
        let insert = format!("{INSERT} {moment})");
        assert_refused(client.execute(&insert, &[&"zyxw@example.com"]), "22023", &["zyxw"]);
    }
    let ahead: String = one(
        &mut client,
        "SELECT to_char((clock_timestamp() + interval '30 seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
        &[],
    );
    for moment in [ahead.as_str(), "9999-12-31T23:59:59Z"] {
        assert_eq!(import(&mut client, moment), "22023", "{moment}");
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn a_moment_before_1900_is_refused() {
    let mut client = database().connect();
    let before = contents(&mut client);
    for moment in [
        "1899-12-31 23:59:59.999999+00",
        "1900-01-01 00:59:59+01",
        "1582-10-15 00:00:00+00",
        "0001-01-01 00:00:00+00",
        "0044-03-15 12:00:00+00 BC",
        "-infinity",
    ] {
        let insert = format!("{INSERT} '{moment}')");
        assert_refused(client.execute(&insert, &[&"zyxw@example.com"]), "22023", &["zyxw"]);
    }
    for moment in [
        "1899-12-31T23:59:59.999999Z",
        "1900-01-01T00:59:59+01:00",
        "1899-12-31T23:59:59-00:00",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        assert_eq!(import(&mut client, moment), "22023", "{moment}");
    }
    assert_eq!(contents(&mut client), before);
}

#[test]
fn the_first_moment_of_1900_is_taken() {
    let mut client = database().connect();
    // In whichever time zone it is written.
    for zone in ["UTC", "Pacific/Apia", "America/Los_Angeles"] {
        client.batch_execute(&format!("SET TimeZone = '{zone}'")).unwrap();
        for moment in ["1900-01-01 00:00:00+00", "1900-01-01 05:30:00+05:30"] {
            let insert =
                format!("{INSERT} '{moment}') RETURNING registered_at = '1900-01-01 00:00:00+00'");
            assert!(one::<bool>(&mut client, &insert, &[&address()]), "{moment}");
        }
        for moment in ["1900-01-01T00:00:00Z", "1899-12-31T23:00:00-01:00"] {
            assert_eq!(import(&mut client, moment), "registered", "{moment}");
            assert_eq!(imported(&mut client), "1900-01-01T00:00:00.000000Z", "{moment}");
        }
    }
}

#[test]
fn an_import_takes_what_rfc_3339_allows() {
    let mut client = database().connect();
    client.batch_execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'").unwrap();
    for (moment, stored) in [
        ("2019-03-01T12:00:00Z", "2019-03-01T12:00:00.000000Z"),
        ("2019-03-01T12:00:00.5Z", "2019-03-01T12:00:00.500000Z"),
        ("2019-03-01T12:00:00.123456Z", "2019-03-01T12:00:00.123456Z"),
        ("2019-03-01T12:00:00+05:30", "2019-03-01T06:30:00.000000Z"),
        ("2019-03-01T12:00:00.25-12:45", "2019-03-02T00:45:00.250000Z"),
        ("2019-03-01T12:00:00+23:59", "2019-02-28T12:01:00.000000Z"),
        ("2019-03-01T12:00:00+00:00", "2019-03-01T12:00:00.000000Z"),
        ("2019-03-01T12:00:00-00:00", "2019-03-01T12:00:00.000000Z"),
        ("2019-03-01t12:00:00z", "2019-03-01T12:00:00.000000Z"),
        ("2019-03-01t12:00:00.5+01:00", "2019-03-01T11:00:00.500000Z"),
        ("2020-02-29T23:59:59Z", "2020-02-29T23:59:59.000000Z"),
    ] {
        assert_eq!(import(&mut client, moment), "registered", "{moment}");
        assert_eq!(imported(&mut client), stored, "{moment}");
    }
}

#[test]
fn an_import_refuses_every_other_way_to_write_a_moment() {
    let mut client = database().connect();
    let bad = [
        "2019-03-01T12:00:00+25:00",
        "2019-03-01T12:00:00+24:00",
        "2019-03-01T12:00:00+05:60",
        "2019-03-01T12:00:00+00:19:32",
        "2019-03-01T12:00:00+01:00[Europe/Berlin]",
        "2019-03-01T12:00:00Z[UTC]",
        "2019-03-01T12:00:00[Europe/Berlin]",
        "2019-03-01T12:00:00 Europe/Berlin",
        "20190301T120000Z",
        "2019-03-01T120000Z",
        "20190301T12:00:00Z",
        "2019-03-01 12:00:00Z",
        "2019-03-01_12:00:00Z",
        "2019-03-01T12:00:00 Z",
        "2019-03-01T12:00:00",
        "2019-03-01T12:00:00+05",
        "2019-03-01T12:00:00+0530",
        "2019-03-01T12:00:00+5:30",
        "2019-03-01T12:00:00+",
        "2019-03-01T12:00:00\u{2212}05:30",
        "2019-03-01T12:00:00UTC",
        "2019-03-01T12:00Z",
        "2019-03-01T12Z",
        "2019-03-01Z",
        "2019-03-01",
        "2019-03-01T12:00:00.Z",
        "2019-03-01T12:00:00,5Z",
        "2019-03-01T12:00.5Z",
        "2019-02-30T12:00:00Z",
        "2019-02-29T12:00:00Z",
        "2019-13-01T12:00:00Z",
        "2019-00-01T12:00:00Z",
        "2019-03-00T12:00:00Z",
        "2019-03-01T24:00:00Z",
        "2019-03-01T25:00:00Z",
        "2019-03-01T12:60:00Z",
        "2019-03-01T12:00:61Z",
        "2019-3-1T12:00:00Z",
        "2019-03-01T1:00:00Z",
        "19-03-01T12:00:00Z",
        "+002019-03-01T12:00:00Z",
        "-2019-03-01T12:00:00Z",
        "2019-060T12:00:00Z",
        "2019-W09-5T12:00:00Z",
        " 2019-03-01T12:00:00Z",
        "2019-03-01T12:00:00Z ",
        "2019-03-01T12:00:00Z\n",
        "２０１９-03-01T12:00:00Z",
        "Fri, 01 Mar 2019 12:00:00 GMT",
        "1551441600",
        "today",
        "epoch",
        "infinity",
        "",
    ];
    let before = contents(&mut client);
    let wrong: Vec<_> = bad
        .into_iter()
        .map(|moment| (moment, import(&mut client, moment)))
        .filter(|(_, outcome)| outcome != "22023")
        .collect();
    assert_eq!(wrong, []);
    assert_eq!(contents(&mut client), before);
}
