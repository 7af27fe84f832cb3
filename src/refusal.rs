//! Every refusal: SQLSTATE, message, detail and hint. None contains an address or a name.

use crate::rules::BrokenRule;

/// The fields of a report. The texts hold no NUL, and are fit for the client and for the server log.
pub struct Facts {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: String,
}

/// What identifies a PostgreSQL error.
pub struct PostgresError<'a> {
    pub sqlstate: &'a str,
    pub message: &'a str,
    pub schema: &'a str,
    pub constraint: &'a str,
}

/// Defines [`Refusal`] from a table: a variant with its fields, then `SQLSTATE message [detail …] hint`.
macro_rules! refusals {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident: $type:ty),+ })?
        $sqlstate:literal $message:literal $(detail $detail:literal)? hint $hint:expr;
    )+) => {
        #[derive(Debug)]
        pub enum Refusal {
            /// A value breaks its rule.
            Rule(BrokenRule),
            $($(#[$doc])* $name $({ $($field: $type),+ })?,)+
        }

        impl Refusal {
            pub fn facts(&self) -> Facts {
                match self {
                    Self::Rule(BrokenRule { message, hint }) => Facts {
                        sqlstate: "22023",
                        message: (*message).to_owned(),
                        detail: None,
                        hint: (*hint).to_owned(),
                    },
                    $(Self::$name $({ $($field),+ })? => Facts {
                        sqlstate: $sqlstate,
                        message: format!($message),
                        detail: [$(format!($detail),)?].into_iter().next(),
                        hint: ($hint).to_owned(),
                    },)+
                }
            }
        }
    };
}

refusals! {
    // Arguments.

    Missing { argument: &'static str } "22023"
        "{argument} is required"
        hint "Give a value that is not NULL.";
    /// PostgreSQL does not verify every text: settings in the startup packet are one exception.
    NotUtf8 { argument: &'static str } "22021"
        "{argument} is not valid UTF-8"
        hint "Send it in the encoding that client_encoding names, and not by way of a setting.";
    PageSize { max: i32 } "22023"
        "page_size must be 1 to {max}"
        hint "Ask for more than one page.";
    BatchSize { max: i32 } "22023"
        "batch_size must be 1 to {max}"
        hint "Read on from the last position of each batch.";
    MaxEvents "22023"
        "max_events must not be negative"
        hint "Give a number of events, or NULL for all that are old enough.";
    MaxCustomers "22023"
        "max_customers must not be negative"
        hint "Give a number of customers, or NULL for all.";
    Age "22023"
        "older_than must not be negative"
        hint "Give an interval like '90 days'.";
    ConsumerName { max: usize } "22023"
        "consumer must have 1 to {max} octets"
        hint "Name it after the service that reads, like 'search-index'.";
    BeyondFeed "22023"
        "the position lies beyond the end of the feed"
        hint "Give a position that read_events(), fetch_events() or feed_position() returned.";
    NegativePosition "22023"
        "a position is never negative"
        hint "Give 0 for the beginning of the feed.";
    RegisteredInFuture "22023"
        "registered_at must be a moment that has passed"
        hint "Leave it out for a customer who registers now.";
    RegisteredTooEarly "22023"
        "registered_at must not be before 1900"
        hint "Leave it out where it is not known.";
    VersionGiven "22023"
        "a new customer has version 1"
        hint "Leave version out. To load a dump, use pg_restore or pg_dump with --disable-triggers.";

    // Documents.

    EmptyPatch "22023"
        "patch must be a JSON object with at least one field"
        hint "Give one or more of email, name and status.";
    EncodedTwice { argument: &'static str } "22023"
        "{argument} is a JSON string"
        hint "A JSON string in place of an object or an array was encoded twice, by the application and by its \
              driver: pass the object or the array itself, or its text cast to jsonb.";
    PatchTooLong "22023"
        "patch is longer than any that could pass"
        hint "Give one or more of email, name and status.";
    UnknownField { name: String } "22023"
        "{name} is not part of a customer profile"
        hint "A patch changes email, name and status; passwords belong to the identity provider.";
    NotText { field: &'static str } "22023"
        "{field} must be JSON text"
        hint "Give a JSON string.";
    NotClearable { field: &'static str } "22023"
        "{field} cannot be cleared"
        hint "Leave the field out to keep its value; null clears the name only.";
    NotAnArray "22023"
        "customers must be a JSON array"
        hint "Give an array of objects, one for each customer.";
    TooManyCustomers { max: usize } "22023"
        "customers must have at most {max} elements"
        hint "Import them in several calls, of some thousands each.";
    NotAnObject "22023"
        "a customer must be a JSON object"
        hint "Give an object with email and what else is known.";
    NotAUuid "22023"
        "customerId is not a UUID"
        hint "Give a UUID like 0b5e58a5-3c39-4f4c-9d49-0f0d8a0a1c11.";
    NotAMoment "22023"
        "registeredAt is not a moment"
        hint "Give date, time and offset by RFC 3339, like 2020-02-02T20:20:02Z.";

    // Customers.

    EmailTaken "23505"
        "the e-mail address is already registered"
        hint "Find its customer with find_customer(), or give another address.";
    IdTaken "23505"
        "the customer_id belongs to another customer"
        hint "Leave customer_id out, or retry with the e-mail and name it was registered with.";
    KeptOut "23505"
        "a constraint or trigger of the table's owner keeps the customer out"
        hint "See the unique indexes and triggers of customers.customers.";
    Closed "23514"
        "the account is closed"
        hint "A closed account can only be erased: see erase_customer().";
    Immutable { column: &'static str } "23514"
        "{column} of a customer never changes"
        hint "Leave the column out of the UPDATE.";
    CustomersStay "23514"
        "customers are never deleted"
        hint "Close the account with set_status(), or forget the person with erase_customer().";
    EventsStay "23514"
        "events are never changed or deleted"
        hint "Remove old events with prune_events(), personal data with erase_customer().";
    NoCustomer "PT404"
        "no such customer"
        hint "Check the customer_id.";
    VersionConflict { expected: i64, current: i64 } "PT409"
        "the customer has another version"
        detail "Expected version {expected}, the current version is {current}."
        hint "Read the customer again, decide again, and give the version you have read.";
    NotWritten "55000"
        "a trigger has kept the customer from being written"
        hint "See the triggers of customers.customers.";
    WithinItsStatement "55000"
        "the customer is being written by a statement that has not ended"
        hint "Change it in a statement of its own: not in RETURNING, a writing CTE or a trigger of the \
              statement that writes it.";

    // The feed.

    NoConsumer "PT404"
        "no such consumer"
        hint "Call subscribe() first.";
    Pruned { up_to: i64 } "PT410"
        "the feed cannot go on from this position: events after it are gone"
        detail "Events up to position {up_to} were pruned."
        hint "Copy everything again: see CONSUMING in the reference of customer_db.";
    SetBack { epoch: i32, end: i64 } "PT410"
        "the feed cannot go on from this position: what came before it was lost"
        detail "Epoch {epoch} of the feed ended at position {end}: a failover or a restore has set it back."
        hint "Copy everything again: see CONSUMING in the reference of customer_db.";
    BeyondEnd { end: i64 } "PT410"
        "the feed cannot go on from this position: it ends before it"
        detail "The feed ends at position {end}: what came after it was lost by a failover or a restore, or was never \
                there."
        hint "Copy everything again: see CONSUMING in the reference of customer_db.";
    Isolation "25001"
        "the feed can only be read in a READ COMMITTED transaction"
        hint "Read it in a transaction of its own: an older snapshot misses events.";
    Standby "25006"
        "the feed cannot be read on a standby"
        hint "Connect to the primary: commits arrive there in the feed's order.";
    NotRecorded "55000"
        "a trigger has kept the event from being recorded"
        hint "See the triggers of customers.events.";
    PositionsRepeat "55000"
        "the feed's sequence gives positions that were drawn before"
        hint "Set it right: ALTER SEQUENCE customers.events_position_seq CACHE 1 NO CYCLE, and setval() to \
              the highest of position in customers.events and customers.consumers and of pruned_to and \
              first_position - 1 in customers.feed_epochs.";
    PositionsExhausted "55000"
        "the feed has no positions left"
        hint "Positions stay below 2^53; see the maximum of customers.events_position_seq, and set it right \
              with ALTER SEQUENCE … MAXVALUE and setval().";

    // The installation.

    ReadOnly "25006"
        "customer_db cannot write in a read-only transaction"
        hint "Connect to the primary: a standby is read-only, like a transaction that was begun so.";
    AttachIsolation "25001"
        "a table can only be adopted in a READ COMMITTED transaction"
        hint "Attach in a transaction of its own: an older snapshot does not show every row.";
    OutOfDate "55000"
        "the schema customers is that of an earlier version of customer_db"
        hint "ALTER EXTENSION customer_db UPDATE, or after a restore SELECT customers.attach().";

    NotAttached "55000"
        "the rules are not in force in this database"
        hint "The owner of the extension calls customers.attach(), which creates tables and triggers that are \
              missing and enables them.";
    DefinitionsChanged "55000"
        "the definitions of customer_db have changed during the call"
        hint "Try again: a table or the extension was dropped, renamed or made anew at the same time.";
    OtherTable { table: String, lacks: String } "55000"
        "customers.{table} is not the table that customer_db works with"
        detail "It lacks {lacks}."
        hint "Rename it, or give it the columns that the reference lists.";
    NotAdoptable { table: String, problems: String } "55000"
        "customers.{table} is not the table that customer_db works with"
        detail "{problems}"
        hint "Mend it as DETAIL says, or rename the table, and attach again.";
    OtherColumn "55000"
        "a column of the schema customers has another type than it was made with"
        hint "Give it back the type that the reference lists.";
    OtherType "55000"
        "customers.profile is not the type that customer_db was installed with"
        hint "Restore it: DROP EXTENSION customer_db CASCADE keeps the data.";
    Inherits { table: &'static str } "55000"
        "customers.{table} is a parent, a child or a partition of another table"
        hint "Take it out with ALTER TABLE … NO INHERIT or DETACH PARTITION: a statement on another table \
              would pass the triggers.";
    LogicalApply "55000"
        "logical replication cannot change customers under triggers that are enabled always"
        hint "ALTER TABLE customers.customers ENABLE TRIGGER …, without ALWAYS: a subscriber takes customers \
              and events as they come.";
    Distributed { table: &'static str } "55000"
        "customers.{table} is managed by Citus"
        hint "Keep it a plain table on the coordinator: SELECT undistribute_table('customers.…').";
    CitusWorker "55000"
        "this is a worker node of Citus"
        hint "Attach on the coordinator, and connect applications there.";
    BrokenRules { rows: i64 } "55000"
        "customers.customers has rows that break a rule"
        detail "There are {rows} of them."
        hint "Mend them first. They are listed, with their canonical forms and whom these collide with, by: \
              SELECT * FROM customers.offenders();";
    BrokenVersions { rows: i64 } "55000"
        "customers.customers has rows without a version"
        detail "There are {rows} of them."
        hint "Mend them first, by an UPDATE that sets it to 1. They are listed by: \
              SELECT * FROM customers.offenders();";
    Shared { values: i64 } "55000"
        "customers.customers has addresses or ids that stand more than once"
        detail "There are {values} of them."
        hint "Mend them first. They are listed by: SELECT * FROM customers.offenders();";
    OnlyAsTrigger "39P01"
        "this is a trigger function, for the triggers that attach() creates"
        hint "Call attach() to have the triggers created.";
    NotTheOwner "42501"
        "this is for the owner of the extension"
        hint "Ask a superuser or the owner of the extension.";
    UnknownDuty "22023"
        "no such duty"
        hint "Duties are writer, reader, support, consumer, auditor, privacy and operator.";
    UnknownRole "22023"
        "no such role"
        hint "Create it with CREATE ROLE. Duties are writer, reader, support, consumer, auditor, privacy and \
              operator.";
    Bug "XX000"
        "customer_db has failed; nothing was changed"
        hint "This is a bug: report it with the version of customer_db and the function that was called.";
}

impl From<BrokenRule> for Refusal {
    fn from(broken: BrokenRule) -> Self {
        Self::Rule(broken)
    }
}

impl Refusal {
    /// Names the field, unless the field's name could be a person's name or address.
    pub fn unknown_field(field: &str) -> Self {
        let like_an_identifier = field.len() <= 32
            && field.starts_with(|c: char| c.is_ascii_lowercase())
            && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = if like_an_identifier { field } else { "a field that was given" };
        Self::UnknownField { name: name.to_owned() }
    }

    /// The refusal that replaces a PostgreSQL error; None if the error is kept.
    pub fn in_place_of(error: &PostgresError) -> Option<Self> {
        match (error.sqlstate, error.schema, error.constraint) {
            ("23505", "customers", "customers_email_key") => Some(Self::EmailTaken),
            ("23505", "customers", "customers_pkey") => Some(Self::IdTaken),
            // The table's own, or that of a partition.
            ("23505", "customers", key) if key.starts_with("events") && key.ends_with("_pkey") => {
                Some(Self::PositionsRepeat)
            }
            // sequence_generator_limit_exceeded of nextval(), numeric_value_out_of_range of setval(): they
            // name the sequence in the message alone.
            ("2200H" | "22003", ..) if error.message.contains("events_position_seq") => {
                Some(Self::PositionsExhausted)
            }
            _ => None,
        }
    }
}
