-- What customers give their VMs to do, and how their VMs are known.

-- +goose Up

-- user_data is kept until the VM was Active or is to be removed, '' after that and
-- for none; host_keys are the public keys of the VM's SSH server, one a line, ''
-- while they are not known.
ALTER TABLE vms ADD COLUMN user_data TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN host_keys TEXT NOT NULL DEFAULT '';

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
ALTER TABLE vms DROP COLUMN host_keys;
ALTER TABLE vms DROP COLUMN user_data;
