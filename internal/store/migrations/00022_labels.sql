-- What customers tell their VMs apart by, and what VMs wait for.

-- +goose Up

-- labels are a VM's: a line for each, key=value, in the order of keys, with a line
-- break before the first as well; '' for none.
ALTER TABLE vms ADD COLUMN labels TEXT NOT NULL DEFAULT '';

-- trouble is what a VM's agent could not do yet, since when, and when it tries again,
-- as JSON; '' for none.
ALTER TABLE vms ADD COLUMN trouble TEXT NOT NULL DEFAULT '';

CREATE INDEX servers_silent ON servers (silent_since) WHERE silent_since > 0;

-- Texts are compared byte by byte, see 00009.
-- +goose StatementBegin
-- SQLITE: SELECT 1;
-- POSTGRES: DO $$
-- POSTGRES: DECLARE c RECORD;
-- POSTGRES: BEGIN
-- POSTGRES:     FOR c IN SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
-- POSTGRES:     LOOP
-- POSTGRES:         EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', c.table_name, c.column_name);
-- POSTGRES:     END LOOP;
-- POSTGRES: END $$;
-- +goose StatementEnd

-- +goose Down
DROP INDEX servers_silent;
ALTER TABLE vms DROP COLUMN trouble;
ALTER TABLE vms DROP COLUMN labels;
