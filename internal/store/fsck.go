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
// them needs: its reserve is left out, see Reserves, and all of its Spec but what
// it takes of its server.
func (t *Tx) EachVM(ctx context.Context, fn func(vm.VM)) error {
	var r [11]any
	return t.scan(ctx, `SELECT id, account_id, server_id, provider_id, state, price, spent, epochs, settled, CASE WHEN gone THEN 1 ELSE 0 END, spec
		FROM vms ORDER BY id`, func(list *sql.Rows) error {
		if err := scanAll(list, r[:]); err != nil {
			return err
		}
		var takes struct {
			VCPU       int64 `json:"vcpu"`
			RAMGiB     int64 `json:"ram_gib"`
			StorageGiB int64 `json:"storage_gib"`
		}
		if err := fromJSON(text(r[10]), &takes); err != nil {
			return err
		}
		fn(vm.VM{
			ID: text(r[0]), AccountID: text(r[1]), ServerID: text(r[2]), ProviderID: text(r[3]), State: vm.State(text(r[4])),
			Price: money.Amount(number(r[5])), Spent: money.Amount(number(r[6])), Epochs: number(r[7]), Settled: number(r[8]), Gone: number(r[9]) != 0,
			Spec: vm.Spec{VCPU: takes.VCPU, RAMGiB: takes.RAMGiB, StorageGiB: takes.StorageGiB},
		})
		return nil
	})
}

// Reserves returns what the reserves of all VMs hold, by the VM's id; those that
// hold nothing are left out.
func (t *Tx) Reserves(ctx context.Context) (map[string]money.Amount, error) {
	held := map[string]money.Amount{}
	var r [2]any
	err := t.scan(ctx, `SELECT account, amount FROM balances WHERE account LIKE 'vm:%' AND amount <> 0 ORDER BY account`, func(list *sql.Rows) error {
		err := scanAll(list, r[:])
		held[strings.TrimPrefix(text(r[0]), "vm:")] = money.Amount(number(r[1]))
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
