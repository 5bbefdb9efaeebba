-- What the weekly maintenance is about, beside pgbench's own tables.
CREATE EXTENSION pg_stat_statements;
CREATE TABLE audit_logs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL, actor text, action text);
INSERT INTO audit_logs (created_at, actor, action)
  SELECT now() - interval '40 days', 'user ' || n % 100, repeat('x', 60) FROM generate_series(1, 900000) n;
INSERT INTO audit_logs (created_at, actor, action)
  SELECT now(), 'user ' || n % 100, repeat('y', 60) FROM generate_series(1, 100000) n;
CREATE TABLE user_sessions (token uuid PRIMARY KEY, expires_at timestamptz NOT NULL);
INSERT INTO user_sessions SELECT gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 50000);
CREATE TABLE events (id int PRIMARY KEY, kind text NOT NULL);
INSERT INTO events SELECT n, md5(n::text) FROM generate_series(1, 3000000) n;
CREATE INDEX events_by_kind ON events (kind);
DELETE FROM events WHERE id % 10 <> 0;
VACUUM ANALYZE events;
