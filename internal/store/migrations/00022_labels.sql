-- What customers tell their VMs apart by.

-- +goose Up

-- labels are a VM's: a line for each, key=value, in the order of keys, with a line
-- break before the first as well; '' for none.
ALTER TABLE vms ADD COLUMN labels TEXT NOT NULL DEFAULT '';

-- Texts are compared byte by byte, see 00009.
-- +goose StatementBegin
-- SQLITE: SELECT 1;
-- POSTGRES: DO $$
-- POSTGRES: DECLARE c RECORD;
-- POSTGRES: BEGIN
-- POSTGRES:     FOR c IN SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text'
-- POSTGRES:     LOOP
-- POSTGRES:         EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', c.table_name, c.column_name);
-- POSTGRES:     END LOOP;
-- POSTGRES: END $$;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE vms DROP COLUMN labels;
