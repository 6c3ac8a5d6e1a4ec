-- What a placement writes, in fewer trees: half of what it costs is finding the
-- place of each row in each of them.

-- +goose Up

-- A VM's row refers to nothing any more: each reference is looked up for each new
-- row. Its server exists, since capacity is taken of it in the same transaction,
-- its account is who asked, and neither is ever deleted.
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_account_id_fkey;
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_server_id_fkey;

-- A VM may be wanted powered off, too.
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_goal_check;
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_goal_check CHECK (goal IN ('run', 'halt', 'remove'));

-- Lines of a timeline are counted by n from 0, in the order in which they came.
CREATE TABLE vm_lines (
    vm_id TEXT NOT NULL,
    key   TEXT NOT NULL,
    n     BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    text  TEXT NOT NULL,
    PRIMARY KEY (vm_id, key)
)
-- SQLITE: WITHOUT ROWID
;
INSERT INTO vm_lines (vm_id, key, n, at, text)
    SELECT vm_id, key, ROW_NUMBER() OVER (PARTITION BY vm_id ORDER BY id) - 1, at, text FROM vm_events;
DROP TABLE vm_events;
ALTER TABLE vm_lines RENAME TO vm_events;

-- SQLITE: CREATE TABLE vms_plain (
-- SQLITE:     id             TEXT PRIMARY KEY,
-- SQLITE:     account_id     TEXT NOT NULL,
-- SQLITE:     server_id      TEXT NOT NULL,
-- SQLITE:     offer_id       TEXT NOT NULL,
-- SQLITE:     provider_id    TEXT NOT NULL,
-- SQLITE:     datacenter_id  TEXT NOT NULL,
-- SQLITE:     name           TEXT NOT NULL,
-- SQLITE:     spec           TEXT NOT NULL,
-- SQLITE:     goal           TEXT NOT NULL CHECK (goal IN ('run', 'halt', 'remove')),
-- SQLITE:     generation     BIGINT NOT NULL,
-- SQLITE:     reached        BIGINT NOT NULL,
-- SQLITE:     state          TEXT NOT NULL CHECK (state IN
-- SQLITE:         ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds', 'Terminated', 'Stopped', 'Failed')),
-- SQLITE:     since          BIGINT NOT NULL,
-- SQLITE:     reason         TEXT NOT NULL,
-- SQLITE:     deadline       BIGINT NOT NULL,
-- SQLITE:     address        TEXT NOT NULL,
-- SQLITE:     price          BIGINT NOT NULL CHECK (price >= 0),
-- SQLITE:     spent          BIGINT NOT NULL CHECK (spent >= 0),
-- SQLITE:     epoch          BIGINT NOT NULL CHECK (epoch > 0),
-- SQLITE:     created_at     BIGINT NOT NULL,
-- SQLITE:     activated_at   BIGINT NOT NULL,
-- SQLITE:     next_billing   BIGINT NOT NULL,
-- SQLITE:     ended_at       BIGINT NOT NULL,
-- SQLITE:     gone           BOOLEAN NOT NULL,
-- SQLITE:     affinity_group TEXT NOT NULL DEFAULT ''
-- SQLITE: );
-- SQLITE: INSERT INTO vms_plain SELECT id, account_id, server_id, offer_id, provider_id, datacenter_id, name, spec, goal, generation, reached, state,
-- SQLITE:     since, reason, deadline, address, price, spent, epoch, created_at, activated_at, next_billing, ended_at, gone, affinity_group FROM vms;
-- SQLITE: DROP TABLE vms;
-- SQLITE: ALTER TABLE vms_plain RENAME TO vms;
-- SQLITE: CREATE INDEX vms_account ON vms (account_id, created_at, id);
-- SQLITE: CREATE INDEX vms_deadline ON vms (deadline, id) WHERE deadline > 0;
-- SQLITE: CREATE UNIQUE INDEX vms_address ON vms (server_id, address) WHERE NOT gone;
-- SQLITE: CREATE INDEX vms_affinity ON vms (account_id, affinity_group) WHERE affinity_group <> '' AND NOT gone;

-- SQLITE: CREATE TABLE balances_plain (
-- SQLITE:     account TEXT PRIMARY KEY,
-- SQLITE:     amount  BIGINT NOT NULL CHECK (amount BETWEEN -9000000000000000000 AND 9000000000000000000),
-- SQLITE:     CHECK (amount >= 0 OR account = 'external')
-- SQLITE: ) WITHOUT ROWID;
-- SQLITE: INSERT INTO balances_plain SELECT account, amount FROM balances;
-- SQLITE: DROP TABLE balances;
-- SQLITE: ALTER TABLE balances_plain RENAME TO balances;

-- SQLITE: CREATE TABLE market_changes_plain (
-- SQLITE:     revision BIGINT NOT NULL,
-- SQLITE:     server   BIGINT NOT NULL,
-- SQLITE:     PRIMARY KEY (revision, server)
-- SQLITE: ) WITHOUT ROWID;
-- SQLITE: INSERT INTO market_changes_plain SELECT revision, server FROM market_changes;
-- SQLITE: DROP TABLE market_changes;
-- SQLITE: ALTER TABLE market_changes_plain RENAME TO market_changes;

-- pool repeats the inventory, to be read without it.
ALTER TABLE servers ADD COLUMN pool TEXT NOT NULL DEFAULT '';
-- SQLITE: UPDATE servers SET pool = COALESCE(json_extract(inventory, '$.pool'), '');
-- POSTGRES: UPDATE servers SET pool = COALESCE(inventory::json ->> 'pool', '');

-- +goose Down
ALTER TABLE servers DROP COLUMN pool;
CREATE TABLE vm_lines (
    id    IDENTITY,
    vm_id TEXT NOT NULL REFERENCES vms (id),
    key   TEXT NOT NULL,
    at    BIGINT NOT NULL,
    text  TEXT NOT NULL,
    UNIQUE (vm_id, key)
);
INSERT INTO vm_lines (vm_id, key, at, text) SELECT vm_id, key, at, text FROM vm_events ORDER BY at, vm_id, n;
DROP TABLE vm_events;
ALTER TABLE vm_lines RENAME TO vm_events;
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id);
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers (id);
