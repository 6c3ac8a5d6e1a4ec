-- Texts are compared byte by byte on both engines.

-- +goose Up

-- PostgreSQL would compare them as words of the language that its cluster was made
-- for: slower, another order than on SQLite, and keys that begin alike would be no
-- range of an index. Columns that are joined need the same, so all have it: a
-- column of text that is added later says COLLATE "C", too.
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
SELECT 1;
