// Customers with PostgreSQL's JDBC driver: java -cp postgresql.jar WithJdbc.java CONNECTION ADDRESS
import java.sql.*;
import java.util.UUID;

public class WithJdbc {
    record Customer(UUID id, String name, String status, long version) {}

    static Connection db;

    /** The customer that a query returns, or null. An int is sent as int4, a long as int8, which page_size is not. */
    static Customer one(String query, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(query)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            try (ResultSet row = statement.executeQuery()) {
                return row.next() ? new Customer(row.getObject("customer_id", UUID.class), row.getString("name"),
                        row.getString("status"), row.getLong("version")) : null;
            }
        }
    }

    static void refused(String what, String query, Object... values) {
        try {
            one(query, values);
        } catch (SQLException error) {
            System.err.println(what);
            error.printStackTrace();
            System.out.println(what + ": " + error.getSQLState() + " " + error.getClass().getSimpleName());
        }
    }

    static void say(String what, Customer customer) {
        System.out.println(what + ": " + customer.status + ", version " + customer.version);
    }

    public static void main(String[] args) throws SQLException {
        String address = args[1];
        db = DriverManager.getConnection(args[0]);

        Customer ann = one("SELECT * FROM customers.register_customer(?, ?)", " " + address.toUpperCase() + " ", "Ann Example");
        say("registered", ann);
        refused("the address again", "SELECT * FROM customers.register_customer(?)", address);
        refused("no address", "SELECT * FROM customers.register_customer(?)", address.replace('@', '#'));
        refused("a name with a NUL", "SELECT * FROM customers.register_customer(?, ?)", "x" + address, "Ann\0");

        System.out.println("by id: " + one("SELECT * FROM customers.get_customer(?)", ann.id).name);
        System.out.println("by address: " + one("SELECT * FROM customers.find_customer(?)", address).name);
        Customer none = one("SELECT * FROM customers.get_customer(?)", UUID.randomUUID());
        System.out.println("no such id: " + (none == null ? "no row" : none));
        Customer first = one("SELECT * FROM customers.list_customers(page_size => ?)", 1);
        System.out.println("a page: " + (first == null ? 0 : 1));

        String patch = "SELECT * FROM customers.patch_customer(?, ?::jsonb, ?)";
        Customer patched = one(patch, ann.id, "{\"name\": \"Ann E. Example\"}", ann.version);
        System.out.println("patched: " + patched.name + ", version " + patched.version);
        String update = "SELECT * FROM customers.update_customer(?, name => ?, expected_version => ?)";
        refused("an old version", update, ann.id, "Bea", ann.version);
        refused("a patch of no such id", patch, UUID.randomUUID(), "{\"name\": \"Bea\"}", null);

        db.setAutoCommit(false); // the actor is forgotten when the transaction ends
        try (PreparedStatement actor = db.prepareStatement("SELECT set_config('customer_db.actor', ?, true)")) {
            actor.setString(1, "agent 7");
            actor.execute();
        }
        Customer suspended = one("SELECT * FROM customers.set_status(?, ?, ?)", ann.id, "SUSPENDED", "fraud");
        db.commit();
        db.setAutoCommit(true);
        say("by agent 7", suspended);

        say("closed", one("SELECT * FROM customers.set_status(?, 'CLOSED')", ann.id));
        refused("a closed account", "SELECT * FROM customers.set_status(?, 'ACTIVE')", ann.id);
        refused("the feed", "SELECT * FROM customers.read_events(?)", 1000000L);
        db.close();
    }
}
