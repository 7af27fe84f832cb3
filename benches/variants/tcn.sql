--- like bare
-- The bare table with two extensions of PostgreSQL's contrib: moddatetime keeps updated_at, tcn notifies of each change.
CREATE EXTENSION moddatetime;
CREATE EXTENSION tcn;
CREATE TRIGGER moddatetime BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION moddatetime(updated_at);
CREATE TRIGGER tcn AFTER INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION triggered_change_notification();
--- listen
LISTEN tcn;
