package store

import (
	"context"
	"net/netip"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/ledger"
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

// StoreOrders writes orders. The database refuses an address that is taken and a
// key that is used: the caller has made sure of both, or the transaction ends
// with an error. Returns an Unaffordable fault when an account holds too little.
func (t *Tx) StoreOrders(ctx context.Context, o Orders) error {
	s := &script{}
	if err := s.vms(o.VMs); err != nil {
		return err
	}
	for _, v := range o.VMs {
		t.sheet.Know(ledger.Reserve(v.ID), ledger.Standing{}) // it is new
	}
	if err := t.PostAll(ctx, o.Entries); err != nil {
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
