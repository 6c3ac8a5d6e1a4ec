-- What an account has costs what it has, not what it ever had.

-- +goose Up

-- A VM is over when its customer has deleted it and its server has removed it. Most
-- of those that there ever were are: they are in an order of their own, in which
-- nothing changes any more.
DROP INDEX vms_account;
CREATE INDEX vms_account ON vms (account_id, created_at, id) WHERE NOT (state = 'Stopped' AND gone);
CREATE INDEX vms_over ON vms (account_id, spent) WHERE state = 'Stopped' AND gone;

-- +goose Down
DROP INDEX vms_over;
DROP INDEX vms_account;
CREATE INDEX vms_account ON vms (account_id, created_at, id);
