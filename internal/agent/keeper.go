package agent

import (
	"context"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// keeper makes the server agree with the list.
type keeper struct {
	Config
	folder  *folder
	book    *book
	errands errands            // asks for what exports need
	slots   chan struct{}      // bounds the machines that are started at once
	copies  chan struct{}      // bounds the snapshots that are made at once
	busy    map[string]*worker // by VM, and what is done beside; only run's goroutine touches it
	pruned  time.Time          // when images were last pruned
	clones  bool               // whether new disks are clones of images
}

// worker is one task in work.
type worker struct {
	verb   Verb
	about  string // the snapshot
	again  bool   // see Task
	cancel context.CancelFunc
	done   chan struct{}
}

func newKeeper(c Config, f *folder, b *book, e errands) *keeper {
	return &keeper{
		Config: c, folder: f, book: b, errands: e, slots: make(chan struct{}, c.Launches), copies: make(chan struct{}, copiesAtOnce), busy: map[string]*worker{},
		clones: c.Disks.Clones(filepath.Join(f.path, vmsDir)),
	}
}

// run looks, plans and acts until ctx is cancelled, and returns when the last
// worker has stopped.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := k.turn(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-k.book.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	for _, w := range k.busy {
		w.cancel()
		<-w.done
	}
}

// turn does one round and returns how long the next may wait.
func (k *keeper) turn(ctx context.Context) time.Duration {
	for id, w := range k.busy {
		select {
		case <-w.done:
			delete(k.busy, id)
		default:
		}
	}
	k.book.save(ctx)
	if err := k.look(ctx); err != nil {
		if ctx.Err() == nil { // what is not seen is not known: nothing is planned on it
			k.Log.ErrorContext(ctx, "server can't be seen", "error", err)
		}
		return k.LookEvery
	}
	now := k.Now()
	if k.pruneDue(now) {
		k.pruned = now
		k.prune(ctx)
	}
	wanted, seen := k.book.state()
	tasks := Plan(now, wanted, seen)
	k.dispatch(ctx, tasks)
	pause := k.LookEvery
	for _, s := range seen {
		for _, next := range append(s.waits(), s.NotBefore) {
			if wait := next.Sub(now); wait > 0 {
				pause = min(pause, wait)
			}
		}
	}
	return pause
}

func (k *keeper) look(ctx context.Context) error {
	machines, err := k.Hypervisor.List(ctx)
	if err != nil {
		return err
	}
	links, err := k.Network.List(ctx)
	if err != nil {
		return err
	}
	k.book.look(ctx, machines, links, func(id string) bool {
		w := k.busy[id]
		return w != nil && !w.verb.waits() && w.verb != Prepare // which change nothing of it
	})
	return nil
}

// sight returns what is known of a VM.
func (k *keeper) sight(id string) Sight {
	e := k.book.get(id)
	return e.sight(id)
}

// dispatch hands each task to a worker. A VM has one at a time: a worker that
// does what is no longer asked for is told to stop, and its end brings the
// next round.
func (k *keeper) dispatch(ctx context.Context, tasks []Task) {
	asked := make(map[string]Task, len(tasks))
	for _, t := range tasks {
		asked[t.key()] = t
	}
	k.callOff(asked)
	for _, t := range tasks {
		if t.Verb.aside() {
			if k.busy[t.key()] == nil {
				k.start(ctx, t)
			}
			continue
		}
		k.book.update(ctx, t.ID, func(e *entry) {
			if t.Verb == Quarantine && !e.quarantined {
				k.Log.WarnContext(ctx, "vm that nobody asked for is left as it is", "vm_id", t.ID)
			}
			e.quarantined = t.Verb == Quarantine
		})
		// In their turn: only as many as are started at once, and each end of one
		// brings the next round.
		free := k.busy[t.ID] == nil && (t.Verb != Remove || k.busy[asideKey(t.ID)] == nil) // nothing may write to what is removed
		if t.Verb != Quarantine && free && (!t.again() || k.resuming() < k.Launches) {
			k.start(ctx, t)
		}
	}
}

// callOff stops the workers that do what is no longer asked for.
func (k *keeper) callOff(asked map[string]Task) {
	for key, w := range k.busy {
		t := asked[key]
		v := t.Verb
		switch {
		case w.verb.aside() && (v != w.verb || t.Snapshot.ID != w.about),
			(w.verb.waits() || w.verb == Prepare) && v != w.verb,
			(w.verb == Launch || w.verb == Restart || w.verb == Change) && (v == Halt || v == Remove || v == Quarantine),
			w.verb == Halt && v != Halt:
			w.cancel()
		}
	}
}

// resuming returns how many machines that ran before are being started.
func (k *keeper) resuming() int {
	n := 0
	for _, w := range k.busy {
		if w.again {
			n++
		}
	}
	return n
}

func (k *keeper) start(ctx context.Context, t Task) {
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{verb: t.Verb, about: t.Snapshot.ID, again: t.again(), cancel: cancel, done: make(chan struct{})}
	k.busy[t.key()] = w
	go func() {
		defer k.book.rouse()
		defer close(w.done)
		defer cancel()
		err := k.do(ctx, t)
		if ctx.Err() != nil {
			return // stopped, which is neither success nor failure: the next round looks again
		}
		k.settle(ctx, t, err)
	}()
}

func (k *keeper) do(ctx context.Context, t Task) error {
	switch t.Verb {
	case Launch:
		return k.launch(ctx, t.Order)
	case Connect:
		return k.connect(ctx, t.Order)
	case Restart:
		return k.restart(ctx, t.Order)
	case Prepare:
		return k.prepare(ctx, t.Order)
	case Change:
		return k.change(ctx, t.Order)
	case Purge:
		return k.purge(ctx, t.Order)
	case Watch:
		return k.watch(ctx, t.Order)
	case Listen:
		return k.listen(ctx, t.Order)
	case Halt:
		return k.halt(ctx, t.Order)
	case Remove:
		return k.remove(ctx, t.Order)
	case Save:
		return k.save(ctx, t.Order, t.Snapshot)
	case Discard:
		return k.discard(ctx, t.Order, t.Snapshot)
	case Quarantine:
	}
	return nil
}

// settle notes how a task ended. A first launch that can't work however often
// it is tried, or did not for launchTries, makes the VM Broken; everything else is
// tried again, later and later: a VM that ran once has a disk that is worth it.
func (k *keeper) settle(ctx context.Context, t Task, err error) {
	if t.Verb.aside() {
		k.settleSnapshot(ctx, t, err)
		return
	}
	if err != nil {
		k.Log.WarnContext(ctx, "vm task failed", "vm_id", t.ID, "verb", t.Verb, "error", err)
	}
	if t.Verb.waits() {
		return
	}
	k.book.update(ctx, t.ID, func(e *entry) {
		e.settle(t.Order.Generation, k.Now())
		final := fault.Is(err, fault.Invalid)
		switch {
		case err == nil:
			e.Reason = ""
		case t.Verb == Launch && e.Started.IsZero() && (final || e.Attempt >= launchTries):
			e.Broken, e.Elsewhere, e.Reason = true, !final, clip(sorry(err))
			e.tell("broken", k.Now(), "the VM can't be started: "+e.Reason)
		case t.Verb == Prepare && (final || e.Attempt >= launchTries):
			n := t.Order.Boots()
			e.Unmade, e.Reason = &n, clip(sorry(err))
			e.tell(keyOf("unmade", n), k.Now(), "it goes on with the disk that it has: "+e.Reason)
		default:
			e.Reason = clip(excuse(err))
		}
	})
}

// launchTries is how often a first launch may fail before the VM counts as one
// that can't be launched here: with the delays between, about a minute. It is
// placed elsewhere then, or its customer gets the money back.
const launchTries = 7

// excuse says to a customer what a VM waits for.
func excuse(err error) string { return sorry(err) + "; it is tried again" }

// sorry says to a customer what went wrong.
func sorry(err error) string {
	if fault.Is(err, fault.Internal) {
		return "a problem on the server, whose provider can see it"
	}
	return fault.Message(err)
}

func clip(s string) string {
	const most = 500
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
