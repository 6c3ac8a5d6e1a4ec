package agent_test

import (
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What could not be done is told with when it is tried again: that is when it is, and
// not before. Nothing more is told once it is done, or given up.
func TestRetryIsTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fail(fault.New(fault.Unavailable, "the mirror answers 503"))
		r.start()
		r.order(order("0xA", 1, ssh))
		r.until(time.Second, "the first try", func() bool { return r.sighting("0xA").Retry != nil })
		for tries := 1; tries < 7; tries++ {
			told := r.sighting("0xA").Retry
			if told == nil || told.Attempt != tries || told.Of != 7 || !told.At.After(time.Now()) {
				t.Fatalf("after %d tries it tells %+v at %v", tries, told, time.Now())
			}
			time.Sleep(time.Until(told.At) - time.Millisecond)
			if n := r.disks.fetches; n != tries {
				t.Fatalf("%d tries before %v, want %d", n, told.At, tries)
			}
			time.Sleep(2 * time.Millisecond)
			if n := r.disks.fetches; n != tries+1 {
				t.Fatalf("%d tries at %v, want %d", n, told.At, tries+1)
			}
			time.Sleep(time.Millisecond)
		}
		r.reaches("0xA", 0, vm.Broken)
		if told := r.sighting("0xA").Retry; told != nil {
			t.Errorf("given up, it tells %+v", told)
		}
	})
	bubble(t, func(r *rig) {
		r.disks.fail(fault.New(fault.Unavailable, "the mirror answers 503"))
		r.start()
		r.order(order("0xA", 1, ssh))
		r.until(time.Second, "the first try", func() bool { return r.sighting("0xA").Retry != nil })
		r.disks.fail(nil)
		r.reaches("0xA", 1, vm.Ready)
		if told := r.sighting("0xA").Retry; told != nil {
			t.Errorf("ready, it tells %+v", told)
		}
	})
}
