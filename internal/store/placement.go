package store

import (
	"net/netip"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Taking is what is taken out of one server's capacity.
type Taking struct {
	Server  string
	Amount  capacity.Vector
	Address netip.Addr // given out last; the zero Addr leaves it
	Ordered bool       // its list changes
}

// Take takes amounts out of the capacity of servers, each named once. The
// transaction ends with a Conflict fault when one of them no longer fits.
func (t *Tx) Take(takings []Taking) {
	lines := make([][]any, len(takings))
	for i, k := range takings {
		last, ordered, v := "", int64(0), k.Amount
		if k.Address.IsValid() {
			last = k.Address.String()
		}
		if k.Ordered {
			ordered = 1
		}
		lines[i] = []any{k.Server, v.VCPU, v.RAMGiB, v.StorageGiB, v.Addresses, last, ordered}
		t.sold(k.Server)
	}
	s := &script{}
	s.claim(lines, "a server no longer has room for what was placed there", func(table string) string {
		return `UPDATE servers SET used_vcpu = used_vcpu + t.column2, used_ram = used_ram + t.column3,
			used_storage = used_storage + t.column4, used_addresses = used_addresses + t.column5,
			last_address = CASE WHEN t.column6 = '' THEN last_address ELSE t.column6 END, revision = revision + t.column7
			FROM ` + table + ` WHERE servers.id = t.column1 AND used_vcpu + t.column2 <= vcpu AND used_ram + t.column3 <= ram
			AND used_storage + t.column4 <= storage AND used_addresses + t.column5 <= addresses`
	})
	t.later(s)
}

// Orders is what accepted orders write, all of it new.
type Orders struct {
	VMs     []vm.VM
	Entries []ledger.Entry
	Events  []EventOf
	Answers []Answer
}

// EventOf is the first line of a VM's timeline.
type EventOf struct {
	VM string
	vm.Event
}

// StoreOrders writes orders. The database refuses an address that
// is taken, a key that is used, and an account that falls below zero: the caller
// has made sure of all three, or the transaction ends with an error.
func (t *Tx) StoreOrders(o Orders) error {
	s := &script{}
	if err := s.vms(o.VMs); err != nil {
		return err
	}
	if err := s.post(o.Entries); err != nil {
		return err
	}
	events := make([][]any, len(o.Events))
	for i, e := range o.Events {
		events[i] = []any{e.VM, e.Key, int64(0), micros(e.At), e.Text}
	}
	s.insert(`INSERT INTO vm_events (vm_id, key, n, at, text)`, events)
	s.answers(o.Answers)
	t.later(s)
	return nil
}

// post adds entries, and the sums that they move.
func (s *script) post(entries []ledger.Entry) error {
	lines := make([][]any, len(entries))
	moved := map[ledger.Account]money.Amount{}
	var accounts []ledger.Account // in the order of their first entry
	move := func(a ledger.Account, amount money.Amount) {
		if _, known := moved[a]; !known {
			accounts = append(accounts, a)
		}
		moved[a] += amount
	}
	for i, e := range entries {
		if err := e.Check(); err != nil {
			return err
		}
		lines[i] = []any{e.Key, micros(e.At), string(e.Kind), string(e.From), string(e.To), int64(e.Amount), e.VM, e.Epoch, e.Reason}
		move(e.From, -e.Amount)
		move(e.To, e.Amount)
	}
	s.insert(`INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason)`, lines)
	var taken, given [][]any
	for _, a := range accounts {
		if line := []any{string(a), int64(moved[a])}; moved[a] < 0 {
			taken = append(taken, line)
		} else {
			given = append(given, line)
		}
	}
	// What is inserted is checked before it is found to be there, so what is
	// taken can't be added like what is given. An account that isn't there gets a
	// row first, for the check to fail on.
	s.over(taken, func(table string) string {
		return `INSERT INTO balances (account, amount) SELECT t.column1, 0 FROM ` + table + ` WHERE true ON CONFLICT (account) DO NOTHING`
	})
	s.over(taken, func(table string) string {
		return `UPDATE balances SET amount = balances.amount + t.column2 FROM ` + table + ` WHERE balances.account = t.column1`
	})
	s.over(given, func(table string) string {
		return `INSERT INTO balances (account, amount) SELECT * FROM ` + table + ` WHERE true
			ON CONFLICT (account) DO UPDATE SET amount = balances.amount + excluded.amount`
	})
	return nil
}
