package control

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// MaxHistory is how many entries a page of history has at most.
const MaxHistory = 500

// CustomerKinds are the kinds of entries that a customer can have.
var CustomerKinds = []ledger.Kind{
	ledger.Deposit, ledger.Withdrawal, ledger.Hold, ledger.Charge, ledger.TopUp, ledger.Refund, ledger.Return,
}

// HistoryFilter narrows a customer's history; the zero value of a member doesn't.
type HistoryFilter struct {
	VM       string      // id
	Labels   vm.Selector // only what is about VMs that it chooses
	Kinds    []ledger.Kind
	From, To time.Time // at From or later, and before To
	Cursor   string    // as a page before gave it: what comes behind that page
	Limit    int       // 1 to MaxHistory
}

// HistoryItem is one entry as its customer sees it.
type HistoryItem struct {
	store.HistoryEntry
	Direction ledger.Direction
	Change    ledger.Purse // of the customer's money
}

// HistoryPage is a part of a history, the newest first.
type HistoryPage struct {
	Items []HistoryItem
	Next  string // the cursor of the next page, "" when there is none
}

// History returns what moved the actor's money: entries that touch its balance or
// the reserves of its VMs. Entries that come meanwhile move no later page.
// Returns an Invalid fault for a filter that can't be, and a NotFound fault for a
// foreign VM.
func (s *Service) History(ctx context.Context, who account.Actor, f HistoryFilter) (HistoryPage, error) {
	h, err := f.history(who.AccountID)
	if err != nil {
		return HistoryPage{}, err
	}
	var list []store.HistoryEntry
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		if f.VM != "" {
			v, err := s.owned(ctx, tx, who, f.VM)
			if err != nil {
				return err
			}
			h.VM = v.ID
		}
		list, err = tx.History(ctx, h, f.Limit+1)
		return err
	})
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		page.Next = cursorOf(list[f.Limit-1].Mark())
	}
	page.Items = make([]HistoryItem, len(list))
	for i, e := range list {
		page.Items[i] = itemOf(who.AccountID, e)
	}
	return page, nil
}

func itemOf(accountID string, e store.HistoryEntry) HistoryItem {
	direction, change := e.Moves(accountID)
	return HistoryItem{HistoryEntry: e, Direction: direction, Change: change}
}

func (f HistoryFilter) history(accountID string) (h store.History, err error) {
	if f.Limit < 1 || f.Limit > MaxHistory {
		return h, fault.Newf(fault.Invalid, "a page has 1 to %d entries, not %d", MaxHistory, f.Limit)
	}
	for _, k := range f.Kinds {
		if !slices.Contains(CustomerKinds, k) {
			return h, fault.Newf(fault.Invalid, "kind %.40q is none of %v", string(k), CustomerKinds)
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return h, fault.New(fault.Invalid, "from has to be before to")
	}
	h = store.History{AccountID: accountID, Labels: f.Labels, Kinds: f.Kinds, From: f.From, To: f.To}
	if f.Cursor != "" {
		h.Before, err = markOf(f.Cursor)
	}
	return h, err
}

// cursorOf returns a mark as a text that means nothing to others.
func cursorOf(m store.Mark) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", m.At.UnixMicro(), m.ID))
}

func markOf(cursor string) (store.Mark, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	var at, id int64
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d.%d", &at, &id)
	}
	if err != nil || len(cursor) > 64 || id <= 0 {
		return store.Mark{}, fault.New(fault.Invalid, "the cursor is none that a page gave; begin without one")
	}
	return store.Mark{At: time.UnixMicro(at), ID: id}, nil
}
