package store

import (
	"context"
	"database/sql"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// EachVM calls fn for every VM that there ever was, with what a check of all of
// them needs: its reserve is left out, see Reserves.
func (t *Tx) EachVM(ctx context.Context, fn func(vm.VM)) error {
	return t.scan(ctx, `SELECT id, account_id, server_id, provider_id, state, price, spent, epochs, settled, gone, spec FROM vms ORDER BY id`, func(list *sql.Rows) error {
		var v vm.VM
		var spec string
		if err := list.Scan(&v.ID, &v.AccountID, &v.ServerID, &v.ProviderID, &v.State, &v.Price, &v.Spent, &v.Epochs, &v.Settled, &v.Gone, &spec); err != nil {
			return err
		}
		if err := fromJSON(spec, &v.Spec); err != nil {
			return err
		}
		fn(v)
		return nil
	})
}

// Reserves returns what the reserves of all VMs hold, by the VM's id; those that
// hold nothing are left out.
func (t *Tx) Reserves(ctx context.Context) (map[string]money.Amount, error) {
	held := map[string]money.Amount{}
	err := t.scan(ctx, `SELECT account, amount FROM balances WHERE account LIKE 'vm:%' AND amount <> 0 ORDER BY account`, func(list *sql.Rows) error {
		var account string
		var amount money.Amount
		err := list.Scan(&account, &amount)
		held[strings.TrimPrefix(account, "vm:")] = amount
		return err
	})
	return held, err
}

// EachTaken calls fn for every server that there ever was with what is taken of
// it.
func (t *Tx) EachTaken(ctx context.Context, fn func(serverID string, used capacity.Vector, simulated bool)) error {
	return t.scan(ctx, `SELECT id, used_vcpu, used_ram, used_storage, used_addresses, simulated FROM servers ORDER BY id`, func(list *sql.Rows) error {
		var id string
		var u capacity.Vector
		var simulated bool
		if err := list.Scan(&id, &u.VCPU, &u.RAMGiB, &u.StorageGiB, &u.Addresses, &simulated); err != nil {
			return err
		}
		fn(id, u, simulated)
		return nil
	})
}
