package control

import (
	"cmp"
	"context"
	"maps"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// SetLabels sets the labels of the actor's VM, the whole set, and returns them. It may
// be repeated. Returns NotFound for an unknown, foreign or deleted VM, and Invalid for
// labels that can't be.
func (s *Service) SetLabels(ctx context.Context, who account.Actor, given string, labels vm.Labels) (vm.Labels, error) {
	return s.label(ctx, who, given, func(vm.Labels) vm.Labels { return labels })
}

// ChangeLabels sets those labels of the actor's VM that have a value in changes and
// removes those that have none, and returns what there is then. It may be repeated.
// Returns the faults of SetLabels.
func (s *Service) ChangeLabels(ctx context.Context, who account.Actor, given string, changes map[string]*string) (vm.Labels, error) {
	for key := range changes {
		if err := vm.CheckLabelKey(key); err != nil {
			return nil, err
		}
	}
	return s.label(ctx, who, given, func(now vm.Labels) vm.Labels { return now.Merge(changes) })
}

func (s *Service) label(ctx context.Context, who account.Actor, given string, change func(vm.Labels) vm.Labels) (labels vm.Labels, err error) {
	var rung []string
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if err := v.Refuses(vm.Label, nil); err != nil {
			return noVM(v.ID)
		}
		labels = change(v.Labels)
		if err := vm.CheckLabels(labels); err != nil || maps.Equal(labels, v.Labels) {
			return err
		}
		rung = []string{"vm:" + v.ID}
		text := "labels changed to " + cmp.Or(printable(labels.String()), "none")
		return firstErrorOf(
			func() error { return tx.SetLabels(ctx, v.ID, labels) },
			func() error { return tx.PutEvent(ctx, v.ID, s.happened("labels", s.Now().UTC(), text)) },
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return labels, err
}
