-- Three roles, so that who serves cannot rewrite what was recorded.
--
--   wallet_owner    owns the tables; `wallet migrate` runs as a member of it
--   wallet_app      serves: adds transactions and entries, changes accounts and holds, never deletes
--   wallet_reader   reads: `wallet verify`, reports
--
-- Run it as a superuser in the wallet's own database after every `wallet migrate`; running it again
-- changes nothing. None of the three can log in: give each person and program a login of its own.
--
--   CREATE ROLE wallet_server LOGIN PASSWORD '…' IN ROLE wallet_app;

BEGIN;  -- whoever serves meanwhile keeps its rights

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['wallet_owner', 'wallet_app', 'wallet_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- Everybody may connect and make temporary tables unless told otherwise.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO wallet_owner, wallet_app, wallet_reader',
        current_database()
    );
END
$$;

-- Before PostgreSQL 15 everybody could make tables here.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO wallet_owner;
GRANT USAGE ON SCHEMA public TO wallet_app, wallet_reader;

ALTER TABLE accounts OWNER TO wallet_owner;
ALTER TABLE transactions OWNER TO wallet_owner;
ALTER TABLE entries OWNER TO wallet_owner;
ALTER TABLE holds OWNER TO wallet_owner;
ALTER TABLE reversals OWNER TO wallet_owner;
ALTER TABLE alembic_version OWNER TO wallet_owner;

REVOKE ALL ON accounts, transactions, entries, holds, reversals, alembic_version
    FROM PUBLIC, wallet_app, wallet_reader;

-- Append-only: no UPDATE, no DELETE, no TRUNCATE.
GRANT SELECT, INSERT ON transactions, entries TO wallet_app;
-- State: changed in place, never deleted.
GRANT SELECT, INSERT, UPDATE ON accounts, holds, reversals TO wallet_app;
GRANT SELECT ON alembic_version TO wallet_app;

GRANT SELECT ON accounts, transactions, entries, holds, reversals, alembic_version
    TO wallet_reader;

COMMIT;
