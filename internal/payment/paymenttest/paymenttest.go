// Package paymenttest holds the promises of a source of payments as one suite of
// tests, which every source has to pass: whatever it delivers, however often, in
// whatever order and to whichever control plane, is credited once.
package paymenttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// Party is a source with the world outside of it: what is paid there, and when
// the source hears of it.
type Party interface {
	// Name is the Source of its payments.
	Name() string
	// Arrived reports whether its payments have arrived when they are delivered.
	Arrived() bool
	// Sources are what a control plane is started with to hear of it.
	Sources() []control.PaymentSource
	// Deliver has payments delivered in this order, and again where one is there
	// twice. Faults are those of single payments, and don't hold up the others.
	Deliver(ctx context.Context, s *control.Service, paid []payment.Payment) error
}

// Run runs the suite; each control plane gets a party of its own.
func Run(t *testing.T, party func() Party) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, w *world){
		"each payment once":                once,
		"in any order":                     anyOrder,
		"to two control planes at once":    together,
		"cut off at any moment":            cutOff,
		"another payment of the same id":   another,
		"for an account that is not there": nobody,
		"beyond the limits":                beyond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, e storetest.Engine) {
				test(t, open(t, e, party))
			})
		})
	}
}

var (
	now    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	limits = payment.Limits{MinDeposit: 10, MaxBalance: 1_000}
)

// world is a database with two customers, and control planes on it.
type world struct {
	t          *testing.T
	url        string
	party      func() Party
	anna, bert string
	log        log
}

// log keeps what control planes tell the operator.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write keeps a line.
func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) says(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// plane is a control plane that one party delivers to.
type plane struct {
	*control.Service
	w     *world
	party Party
}

func open(t *testing.T, e storetest.Engine, party func() Party) *world {
	t.Helper()
	w := &world{t: t, url: e.URL(t), party: party}
	p := w.plane()
	for name, id := range map[string]*string{"Anna": &w.anna, "Bert": &w.bert} {
		made, _, err := p.CreateAccount(t.Context(), control.System, name, account.Customer)
		w.must(err)
		*id = made.ID
	}
	return w
}

// plane starts a control plane with a connection of its own, as after a restart or
// on another machine.
func (w *world) plane() plane {
	w.t.Helper()
	db, err := store.Open(w.t.Context(), w.url)
	w.must(err)
	w.t.Cleanup(func() { _ = db.Close() }) // nothing is left to be written
	party := w.party()
	s, err := control.New(w.t.Context(), control.Config{
		Store: db, Now: func() time.Time { return now }, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Epoch: 24 * time.Hour, Limits: limits, Sources: party.Sources(),
	})
	w.must(err)
	return plane{s, w, party}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// pays returns payments of 10, 11, 12 … for the two customers in turn.
func (w *world) pays(n int) []payment.Payment {
	list := make([]payment.Payment, n)
	for i := range list {
		list[i] = payment.Payment{
			ID: fmt.Sprint("p", i), AccountID: []string{w.anna, w.bert}[i%2], Amount: money.Amount(10 + i), Note: fmt.Sprint("payment ", i), At: now,
		}
	}
	return list
}

// twice returns payments in another order, each of them twice.
func twice(list []payment.Payment) []payment.Payment {
	out := slices.Concat(list, list)
	mathrand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (p plane) deliver(list []payment.Payment) {
	p.w.t.Helper()
	p.w.must(p.party.Deliver(p.w.t.Context(), p.Service, list))
}

// credited reports an error unless the payments are what is in the ledger, each
// once, and all that is stored fits together.
func (p plane) credited(list []payment.Payment) {
	t := p.w.t
	t.Helper()
	want := map[string]payment.Payment{}
	sums := map[string]money.Amount{p.w.anna: 0, p.w.bert: 0}
	for _, one := range list {
		one.Source = p.party.Name()
		want["deposit:"+one.Key()] = one
		sums[one.AccountID] += one.Amount
	}
	for accountID, sum := range sums {
		b, err := p.Balance(t.Context(), control.System, accountID)
		if p.w.must(err); b.Free != sum {
			t.Errorf("balance of %s: got %s, want %s", accountID, b.Free, sum)
		}
	}
	p.w.must(p.Store.Read(t.Context(), func(tx *store.Tx) error {
		entries, err := tx.Entries(t.Context(), ledger.External)
		if len(entries) != len(want) {
			t.Errorf("%d entries, want %d", len(entries), len(want))
		}
		for _, e := range entries {
			one, known := want[e.Key]
			if !known || e.Kind != ledger.Deposit || e.Amount != one.Amount || e.To != ledger.Customer(one.AccountID) || e.Reason != one.Reason() || !e.At.Equal(now) {
				t.Errorf("entry %+v of payment %+v", e, one)
			}
		}
		return err
	}))
	found, err := p.Fsck(t.Context(), control.System)
	if p.w.must(err); len(found.Discrepancies) > 0 {
		t.Errorf("what does not fit: %+v", found.Discrepancies)
	}
}

func once(_ *testing.T, w *world) {
	p, paid := w.plane(), w.pays(4)
	p.deliver(paid[:2])
	p.credited(paid[:2])
	p.deliver(slices.Concat(paid, paid))
	p.credited(paid)
	again := w.plane()
	again.deliver(paid)
	again.credited(paid)
}

func anyOrder(_ *testing.T, w *world) {
	p, paid := w.plane(), w.pays(10)
	for n := range paid {
		p.deliver(twice(paid[len(paid)-1-n:]))
	}
	p.credited(paid)
}

func together(t *testing.T, w *world) {
	t.Helper()
	paid, planes := w.pays(12), []plane{w.plane(), w.plane()}
	var deliveries sync.WaitGroup
	begin := make(chan struct{})
	for _, p := range planes {
		list := twice(paid)
		deliveries.Go(func() {
			<-begin
			if err := p.party.Deliver(t.Context(), p.Service, list); err != nil {
				t.Errorf("Deliver: %v", err)
			}
		})
	}
	close(begin)
	deliveries.Wait()
	planes[0].credited(paid)
}

// cutOff ends deliveries in the middle of any statement, and goes on with another
// control plane, as after the death of the first.
func cutOff(t *testing.T, w *world) {
	t.Helper()
	paid := []payment.Payment{}
	for questions := int64(0); ; questions += 3 {
		p := w.plane()
		next := w.pays(len(paid) + 1)[len(paid)]
		next.Amount = 10
		ctx := storetest.NewMortal(t.Context(), questions)
		err := p.party.Deliver(ctx, p.Service, append(slices.Clone(paid[max(0, len(paid)-1):]), next))
		whole := ctx.Context.Err() == nil
		ctx.End()
		if whole {
			w.must(err)
		}
		paid = append(paid, next)
		after := w.plane()
		after.deliver(paid[max(0, len(paid)-2):])
		after.credited(paid)
		if whole {
			break
		}
	}
	if len(paid) < 4 {
		t.Errorf("it was cut off %d times", len(paid)-1)
	}
}

func another(t *testing.T, w *world) {
	t.Helper()
	p, paid := w.plane(), w.pays(2)
	p.deliver(paid[:1])
	dearer, others := paid[0], paid[0]
	dearer.Amount++
	others.AccountID = w.bert
	err := p.party.Deliver(t.Context(), p.Service, []payment.Payment{dearer, others, paid[1]})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("another payment of the same id: got %v, want a fault of kind conflict", err)
	}
	p.credited(paid)
}

func nobody(t *testing.T, w *world) {
	t.Helper()
	p, paid := w.plane(), w.pays(2)
	lost := paid[0]
	lost.ID, lost.AccountID = "lost", "acc_none"
	for range 2 {
		if err := p.party.Deliver(t.Context(), p.Service, []payment.Payment{paid[0], lost, paid[1]}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a payment for nobody: got %v, want a fault of kind not_found", err)
		}
	}
	p.credited(paid)
	if told := w.log.says("payment_id=lost"); told != p.party.Arrived() {
		t.Errorf("the operator was told of it: %t; it has arrived: %t", told, p.party.Arrived())
	}
}

// beyond: what has arrived is credited in full and told, what has not is refused.
func beyond(t *testing.T, w *world) {
	t.Helper()
	p, paid := w.plane(), w.pays(1)
	large, small := paid[0], paid[0]
	large.ID, large.Amount = "large", limits.MaxBalance+1
	small.ID, small.Amount = "small", limits.MinDeposit-1
	for _, one := range []payment.Payment{large, small} {
		err := p.party.Deliver(t.Context(), p.Service, []payment.Payment{one})
		switch told := w.log.says("payment_id=" + one.ID); {
		case p.party.Arrived() && (err != nil || !told):
			t.Errorf("%s: got %v, told to the operator: %t", one.ID, err, told)
		case !p.party.Arrived() && (!fault.Is(err, fault.Invalid) || told):
			t.Errorf("%s: got %v, told to the operator: %t; want it refused", one.ID, err, told)
		}
	}
	if p.party.Arrived() {
		paid = []payment.Payment{large, small}
	} else {
		p.deliver(paid)
	}
	p.credited(paid)
}

// Faults keeps the first fault of a delivery that goes on after it.
type Faults struct{ err error }

// Go reports whether a delivery may go on after an error of one payment, and
// keeps it. An error that is no fault ends the delivery.
func (f *Faults) Go(err error) bool {
	f.err = errors.Join(f.err, err)
	return !fault.Is(err, fault.Internal)
}

// Err returns the faults of the delivery.
func (f *Faults) Err() error { return f.err }
